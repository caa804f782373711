"""What a cloud hears of devices and of other clouds, and says of itself: over the connection that brings its frames,
or, where these come out of a queue that keeps nothing, over one of its own.
"""

import logging
import threading

from broker.cloud.beside.ahead import Ahead
from broker.cloud.beside.questions import Questions
from broker.cloud.engine import Engine
from broker.cloud.exactness import Exactness
from broker.cloud.peers import Peers
from broker.transport.protocol import Message, Transport

log = logging.getLogger(__name__)

# How often it looks whether it was told to stop, and for tails to open.
_LOOK_S = 0.2


class Listening:
    """For the thread that receives. Questions of devices are answered where births are heard."""

    def __init__(
        self, engine: Engine, transport: Transport, deployment: str, peers: Peers | None, exactness: Exactness | None
    ) -> None:
        self.exactness = exactness
        self.ahead = Ahead(engine, peers.tell if peers else lambda *told: None)
        self._transport = transport
        self._deployment = deployment
        self._peers = peers
        if exactness is not None:
            exactness.on_cut = self.ahead.want
            exactness.on_moving = peers.say_again if peers else lambda: None

    def start(self) -> None:
        """Hears of devices from now on."""
        if self.exactness is not None:
            self.exactness.start()
            Questions(self._transport, self._deployment).start()

    def announce(self) -> None:
        if self._peers is not None:
            self._peers.start()

    def take(self, message: Message) -> bool:
        """Whether it was none with a frame. PeerError where another cloud has our name."""
        return (self._peers is not None and self._peers.take(message)) or (
            self.exactness is not None and self.exactness.take(message)
        )

    def tend(self) -> None:
        """To be called regularly."""
        if self._peers is not None:
            self._peers.tend()

    def close(self) -> None:
        if self._peers is not None:
            self._peers.close()


class Beside:
    """Listens on a thread of its own, over a transport of its own, until the block ends."""

    def __init__(
        self, engine: Engine, transport: Transport, deployment: str, peers: Peers, exactness: Exactness
    ) -> None:
        self.exactness = exactness
        self._engine = engine
        self._transport = transport
        self._listening = Listening(engine, transport, deployment, peers, exactness)
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"beside-{deployment}", daemon=True)

    def check(self) -> None:
        """Raises what ended the thread."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> "Beside":
        self._listening.start()
        self._listening.announce()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._listening.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                message = self._transport.receive(_LOOK_S)
                if message is not None:
                    self._listening.take(message)
                    self._transport.acknowledge(message)
                elif self._engine.waiting == 0:
                    self._listening.ahead.open_next()
                self._listening.tend()
        except Exception as failure:  # noqa: BLE001 - raised again by `check`, in the thread of the cloud
            self._failure = failure
