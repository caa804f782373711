"""Where the workers of a trial on this machine meet: at a broker that is started for them, or in a folder for shared
memory."""

import contextlib
import secrets
import tempfile
from collections.abc import Iterator

from broker.local import server
from broker.mqtt.transport import MqttTransport
from tflsplit.cli.trials.sharing.processes import Way

MQTT, BOX = "mqtt", "box"


@contextlib.contextmanager
def of(kind: str) -> Iterator[Way]:
    """DeviceError where no broker is installed, or nothing for shared memory."""
    deployment = f"trial-{secrets.token_hex(4)}"
    with _over_broker(deployment) if kind == MQTT else _in_box(deployment) as made:
        yield made


@contextlib.contextmanager
def _over_broker(deployment: str) -> Iterator[Way]:
    with server.run(port=0) as serving, MqttTransport(serving.address, client_id=deployment) as listener:
        listener.connect()
        yield Way(deployment, lambda _: serving.url, listener)


@contextlib.contextmanager
def _in_box(deployment: str) -> Iterator[Way]:
    from broker.zenoh.transport import ZenohTransport

    with tempfile.TemporaryDirectory(prefix="tflsplit-box-") as folder:
        url = f"box://{folder}"
        with ZenohTransport(url, deployment=deployment, name="trial") as listener:
            listener.connect()
            yield Way(deployment, lambda _: url, listener)
