"""`python -m broker.local.amqtt_process HOST PORT`: the pure-Python broker as a process of its own.

`broker.local.server` starts it. In a thread it would share the interpreter lock with inference, and its shutdown may
wait for ever for a client that has gone; a process can be ended.
"""

import asyncio
import sys
from typing import Any

from broker.transport.address import Address


async def serve(address: Address) -> None:
    from amqtt.broker import Broker

    config: dict[str, Any] = {
        "listeners": {"default": {"type": "tcp", "bind": str(address)}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    await Broker(config).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Address(sys.argv[1], int(sys.argv[2]))))
