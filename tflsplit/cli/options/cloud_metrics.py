"""A cloud that is watched: what `tflsplit cloud --metrics` switches on."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tflsplit.cli.options import connection
from tflsplit.cli.options import metrics as options_metrics

if TYPE_CHECKING:  # a cloud that nobody watches starts without any of it
    from broker.cloud.engine import Engine
    from broker.cloud.metrics import CloudMetrics
    from broker.cloud.subscriber import Cloud
    from broker.transport.protocol import Transport
    from tflsplit.package.reading import Package


@contextmanager
def started(address: str | None) -> "Iterator[CloudMetrics | None]":
    """From before the tails are loaded until the cloud has ended; None where nobody watches."""
    if address is None:
        yield None
        return
    from broker.cloud import metrics as cloud_metrics

    watching = cloud_metrics.CloudMetrics()
    with options_metrics.served(address, watching.families, watching.health):
        yield watching


@contextmanager
def at(
    watching: "CloudMetrics | None",
    packages: "Sequence[Package]",
    engine: "Engine",
    clouds: "Sequence[tuple[Cloud, Transport]]",
    speaker: tuple[connection.Broker, str, int],
) -> Iterator[None]:
    """While the clouds run. `speaker` are the broker, our name and boot: what devices tell is heard by connections of
    its own."""
    if watching is None:
        yield
        return
    from broker.cloud import fleet
    from broker.cloud import metrics as cloud_metrics

    broker, name, boot = speaker
    with ExitStack() as stack:
        served = []
        for cloud, online in clouds:
            heard = None  # a cloud that has a queue may have no broker
            if broker.is_given:
                ears = stack.enter_context(connection.connected(broker, cloud.deployment, name, boot, is_second=True))
                heard = stack.enter_context(fleet.Fleet(ears, cloud.deployment))
            served.append(cloud_metrics.Served(cloud, online, heard))
        watching.attach(packages, engine, served)
        yield
