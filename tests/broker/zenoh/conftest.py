"""Members of a deployment, with the certificates that `tflsplit broker init` makes."""

import contextlib

import ports
import pytest
import waiting

pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed; the extra zenoh brings it")

from broker.deploy import folder
from broker.transport import credentials
from broker.transport.backoff import Backoff
from broker.transport.credentials import Role
from broker.zenoh.transport import ZenohTransport

QUICKLY = Backoff(first_s=0.02, most_s=0.2, stable_s=0.0)
DEPLOYMENT = "plant1"


@pytest.fixture
def member():
    """Connects members that are closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def join(url, name="m", *, is_connected=True, timeout_s=waiting.WAIT_S, **options):
            made = ZenohTransport(url, name=name, **{"deployment": DEPLOYMENT, "backoff": QUICKLY, **options})
            stack.callback(made.close, timeout_s=0)
            if is_connected:
                made.connect(timeout_s=timeout_s)
            return made

        yield join


@pytest.fixture(scope="session")
def shown(tmp_path_factory):
    """What an identity of a deployment shows: `shown(name, of)`, where `of` tells two deployments of one name apart."""
    made = {}

    def show(name, of="ours"):
        if of not in made:
            made[of] = tmp_path_factory.mktemp(of) / "broker"
            folder.init(made[of], folder.Wanted(("cam1",)), deployment=DEPLOYMENT, hosts=("localhost",))
            folder.add(made[of], ("m1", "m2"), role=Role.WORKER)
        return credentials.open_bundle(made[of] / "clients" / name).credentials

    return show


@pytest.fixture
def port():
    return ports.free_port()
