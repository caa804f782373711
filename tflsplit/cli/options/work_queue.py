"""The option of a cloud that takes its frames from a RabbitMQ queue, and the connections that it needs then."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from tflsplit.cli.options import connection
from tflsplit.cli.options.serving import ServingOptions

if TYPE_CHECKING:  # a cloud without a queue needs no pika
    from broker.transport.address import Credentials
    from broker.transport.protocol import Transport

_log = logging.getLogger(__name__)

# Frames that RabbitMQ may send before a worker is free for them: enough to hide a round trip, and few, so that other
# clouds get the frames that this one cannot run now.
_AHEAD = 4

_UNHEARD = (
    "without --broker beside --queue no device hears of this cloud: edges that --adapt stay at their plan's cut, and "
    "results do not say if they are exact deployment=%s"
)

option = click.option(
    "--queue",
    metavar="URL",
    help="Take the frames from a RabbitMQ queue, instead of from --broker: amqp://[user@]host[:port][/vhost], or "
    "amqps:// for TLS.",
)


@contextmanager
def connected(
    queue: str | None,
    broker: connection.Broker,
    deployment: str,
    name: str,
    boot: int,
    *,
    serving: ServingOptions,
    workers: int | None,
) -> "Iterator[tuple[Transport, Transport | None]]":
    """The transport that brings a cloud's frames, and the one by which it hears of devices and says what it has: the
    same, but with a `queue` that to the broker, if one is given, since AMQP keeps nothing. `workers` is the number of
    the engine's workers."""
    if queue is not None and broker.is_given and broker.resolve_direct() is None and len(broker.resolve()[0]) > 1:
        raise click.UsageError("--queue brings the frames of one RabbitMQ: give it one --broker.")
    with ExitStack() as stack:
        online = None
        if queue is None or broker.is_given:
            from broker.transport.credentials import Role

            online = stack.enter_context(
                connection.connected(broker, deployment, name, boot, role=Role.CLOUD, is_quick=True, is_cloud=True)
            )
            if queue is None:
                yield online, online
                return
        from broker.amqp import address, transport
        from broker.cloud import batching
        from broker.transport import protocol

        where = address.parse(queue)
        if where.password is not None:
            _log.warning("every user of this machine can read the password in --queue remedy=--password-file")
        at_work = (workers or 1) * (1 if serving.batch_window_s is None else batching.SIZE)
        made = transport.AmqpTransport(
            where,
            name=f"tflsplit-{deployment}-{name}-{boot & 0xFFFF:04x}",
            credentials=_credentials(broker),
            limits=protocol.Limits(inbox_messages=at_work + _AHEAD),
        )
        stack.enter_context(made)
        made.connect(waits_for_clock=True)
        if online is None:
            _log.warning(_UNHEARD, deployment)
        yield made, online


def share(queue: str | None, group: str | None) -> str | None:
    """The group whose members divide the frames; clouds at one queue always do."""
    if queue is not None and group is not None:
        raise click.UsageError("--share is for clouds at a broker: those at one --queue share it anyway.")
    return group if queue is None else "queue"


def _credentials(broker: connection.Broker) -> "Credentials":
    from broker.transport import credentials
    from broker.transport.address import Credentials

    if broker.folder is not None:
        return credentials.open_bundle(broker.folder).credentials
    password = credentials.read_password(broker.password_file) if broker.password_file else None
    return Credentials(password, broker.ca, broker.certificate, broker.key)
