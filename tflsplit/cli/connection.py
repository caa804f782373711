"""The options of every command that talks to a broker, and the connection they describe."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from broker import address, mqtt, presence, topics, transport


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--deployment", required=True, help="Name that the edges and clouds of one package share."),
        click.option("--broker", "url", required=True, metavar="URL", help="mqtt://[user@]host[:port]; port 1883."),
    ):
        function = option(function)
    return function


def new_boot() -> int:
    """Drawn anew at each start, so that frames of two runs are never taken for one another."""
    return int.from_bytes(os.urandom(8), "little")


@contextmanager
def connected(url: str, deployment: str, device: str, boot: int) -> Iterator[transport.Transport]:
    """A transport that is online, and says so on the device's retained status topic until the block ends."""
    status = topics.topic(deployment, device, topics.Kind.STATUS)
    made = mqtt.MqttTransport(
        address.parse(url),
        client_id=f"tflsplit-{deployment}-{device}-{boot & 0xFFFF:04x}",
        presence=presence.Presence(status, boot),
    )
    with made:
        made.connect()
        yield made
