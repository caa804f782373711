"""A cloud that is watched: what `tflsplit cloud --metrics` switches on."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tflsplit.cli import connection, metrics

if TYPE_CHECKING:  # a cloud that nobody watches starts without any of it
    from broker.engine import Engine
    from broker.subscriber import Cloud
    from broker.transport import Transport
    from broker.watch import Watch
    from tflsplit.package import Package


@contextmanager
def started(address: str | None) -> "Iterator[Watch | None]":
    """From before the tails are loaded until the cloud has ended; None where nobody watches."""
    if address is None:
        yield None
        return
    from broker import watch

    watching = watch.Watch()
    with metrics.served(address, watching.families, watching.health):
        yield watching


@contextmanager
def at(
    watching: "Watch | None",
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
    from broker import fleet, watch

    broker, name, boot = speaker
    with ExitStack() as stack:
        served = []
        for cloud, online in clouds:
            heard = None  # a cloud that has a queue may have no broker
            if broker.is_given:
                ears = stack.enter_context(connection.connected(broker, cloud.deployment, name, boot, is_second=True))
                heard = stack.enter_context(fleet.Fleet(ears, cloud.deployment))
            served.append(watch.Served(cloud, online, heard))
        watching.attach(packages, engine, served)
        yield
