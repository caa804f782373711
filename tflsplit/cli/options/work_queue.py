"""The option by which a cloud takes frames from a RabbitMQ queue, and the connections it then has."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from tflsplit.cli.options import connection
from tflsplit.cli.options.serving import ServingOptions

if TYPE_CHECKING:  # a cloud that has no queue needs no pika
    from broker.transport.address import Credentials
    from broker.transport.protocol import Transport

_log = logging.getLogger(__name__)

# Frames that RabbitMQ may send ahead of the workers: enough to hide a round trip, few enough that another cloud gets
# what this one cannot do now.
_AHEAD = 4

option = click.option(
    "--queue", metavar="URL", help="Take frames from RabbitMQ: amqp://[user@]host[:port][/vhost], or amqps:// for TLS."
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
) -> "Iterator[Transport]":
    """The transport that a cloud works over. With a `queue`, the broker if given is told that we are online, and no
    more: nothing can be retained over AMQP. `workers` are the engine's."""
    with ExitStack() as stack:
        if queue is None or broker.is_given:
            online = stack.enter_context(connection.connected(broker, deployment, name, boot))
            if queue is None:
                yield online
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
            credentials=_shown(broker),
            limits=protocol.Limits(inbox_messages=at_work + _AHEAD),
        )
        stack.enter_context(made)
        made.connect()
        yield made


def share(queue: str | None, group: str | None) -> str | None:
    """The group whose members share the frames; whoever takes them from a queue does."""
    if queue is not None and group is not None:
        raise click.UsageError("--share is for clouds at a broker: those at one --queue share it anyway.")
    return group if queue is None else "queue"


def _shown(broker: connection.Broker) -> "Credentials":
    from broker.transport import credentials
    from broker.transport.address import Credentials

    if broker.folder is not None:
        return credentials.open_bundle(broker.folder).credentials
    password = credentials.read_password(broker.password_file) if broker.password_file else None
    return Credentials(password, broker.ca, broker.certificate, broker.key)
