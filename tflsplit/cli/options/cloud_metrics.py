"""What a cloud tells of itself: what `tflsplit cloud --metrics` and `--telemetry` start."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tflsplit.cli.options import connection
from tflsplit.cli.options import metrics as options_metrics

if TYPE_CHECKING:  # a cloud without metrics imports none of it
    from broker.cloud.engine import Engine
    from broker.cloud.metrics import CloudMetrics
    from broker.cloud.subscriber import Cloud
    from broker.transport.protocol import Transport
    from tflsplit.package.reading import Package


@contextmanager
def started(address: str | None) -> "Iterator[CloudMetrics | None]":
    """Serves metrics from before the tails are loaded until the cloud has ended; None without an address."""
    if address is None:
        yield None
        return
    from broker.cloud.metrics import CloudMetrics

    metrics = CloudMetrics()
    with options_metrics.served(address, metrics.families, metrics.health):
        yield metrics


@contextmanager
def of_clouds(
    metrics: "CloudMetrics | None",
    packages: "Sequence[Package]",
    engine: "Engine",
    clouds: "Sequence[tuple[Cloud, Transport]]",
    speaker: tuple[connection.Broker, str, int],
) -> Iterator[None]:
    """Collects metrics while the clouds run.

    `speaker` is the broker with this cloud's name and boot. The telemetry of devices comes over a second connection.
    """
    if metrics is None:
        yield
        return
    from broker.cloud.metrics import Served
    from broker.fleet.listening import Listening
    from broker.fleet.totals import Totals

    broker, name, boot = speaker
    with ExitStack() as stack:
        served = []
        for cloud, online in clouds:
            devices = None  # a cloud that takes frames from a queue may have no broker
            if broker.is_given:
                second = stack.enter_context(connection.connected(broker, cloud.deployment, name, boot, is_second=True))
                devices = Totals(cloud.deployment)
                stack.enter_context(Listening(second, cloud.deployment, devices))
            served.append(Served(cloud, online, devices))
        metrics.attach(packages, engine, served)
        yield


@contextmanager
def told(
    every_s: float | None,
    engine: "Engine",
    clouds: "Sequence[Cloud]",
    transports: "Iterable[tuple[Transport, Transport | None]]",
    speaker: tuple[str, int],
) -> Iterator[None]:
    """Publishes each cloud's load while the block runs, over the second of its transports, which leads to a broker of
    MQTT. `speaker` is the cloud's name and boot."""
    with ExitStack() as stack:
        if every_s is not None:
            from broker.cloud.beside.load_reports import LoadReports

            name, boot = speaker
            for cloud, (_, online) in zip(clouds, transports, strict=True):
                if online is not None:
                    reports = LoadReports(cloud, engine, online, name=name, boot=boot, every_s=every_s)
                    stack.enter_context(reports)
        yield
