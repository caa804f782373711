"""The clouds of a deployment, as one of them sees the others: what each serves, and whether it lives.

A frame of a package that we do not serve is no error where another cloud serves it: that one answers.
"""

import logging
import math
import time
from collections.abc import Sequence

from broker.messages import announcements, presence, topics
from broker.messages.announcements import Announcement
from broker.messages.topics import Kind
from broker.transport.name_clash import NameClash
from broker.transport.protocol import Message, Transport
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.kernels.classes import KernelClass
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace

log = logging.getLogger(__name__)

# More than this many clouds of one deployment are not remembered.
_MOST = 256
# A thousand devices that come at a time are answered once, for what we say goes to each of them; and one that says that
# it has come may only then begin to listen.
_AGAIN_S = 1.0


def of(
    transport: Transport,
    speaker: tuple[str, str],
    boot: int,
    packages: Sequence[Package],
    kernel_class: KernelClass | None = None,
    *,
    allows_probes: bool = True,
) -> "Peers":
    """`speaker` is the deployment and the name of a cloud of these packages, `boot` the random id of its run,
    `kernel_class` that of the machine that runs the tails. Without `allows_probes` devices send none."""
    ours = Announcement(boot, _named(packages), kernel_class, allows_probes=allows_probes)
    return Peers(transport, *speaker, ours)


def _named(packages: Sequence[Package]) -> tuple[tuple[str, str], ...]:
    return tuple((package.digest, package.manifest.name) for package in packages)


class Peers:
    """For the thread that receives; `serve` may be asked by any. The transport's presence says that we are online."""

    def __init__(self, transport: Transport, deployment: str, name: str, ours: Announcement) -> None:
        self._transport = transport
        self._deployment = deployment
        self._name = name
        self._ours = ours
        self._topic = topics.topic(deployment, name, Kind.SERVES)
        self._every = topics.every_device(deployment, Kind.SERVES)
        self._announced: dict[str, Announcement] = {}
        self._served = ours.packages
        self._opened: set[tuple[str, str]] = set()
        self._lives: set[str] = set()
        self._gone: set[str] = set()  # who is offline, as its last will said
        self._session: int | None = None
        self._asked_s = math.inf
        self._clash = NameClash(transport, deployment, name, ours.boot)

    def start(self) -> None:
        """Listens and announces. A broker whose rules are older lets us do neither: then we are alone."""
        self._clash.start()
        self._subscribe(self._every)
        self.tend()

    def tend(self) -> None:
        """To be called regularly: announces us again after each new connection, since a broker may have forgotten."""
        session, served = self._transport.reconnects, self._served
        ready = frozenset(each for each in list(self._opened) if any(each[0] == digest for digest, _ in served))
        gone = frozenset(self._gone & self._announced.keys())
        if (served, ready, gone) != (self._ours.packages, self._ours.ready, self._ours.gone):
            self._ours, self._session = replace(self._ours, packages=served, ready=ready, gone=gone), None
        if time.monotonic() - self._asked_s >= _AGAIN_S:
            self._session = None
        if session != self._session and self._transport.try_publish(
            self._topic, self._ours.as_json(), qos=1, retain=True
        ):
            self._session, self._asked_s = session, math.inf

    def exchange(self, packages: Sequence[Package]) -> None:
        """These are ours from now on; `tend` says so. Any thread may say it."""
        self._served = _named(packages)

    def tell(self, package: Package, cut: Cut, is_open: bool) -> None:
        """Whether a tail of ours is open: `tend` tells edges that may move there. Any thread may say so."""
        (self._opened.add if is_open else self._opened.discard)((package.digest, cut.id))

    def say_again(self) -> None:
        """Announces us again, soon: for a device that has come, since not every broker gives it what it retains, and
        since what is retained may be of a cloud that died."""
        self._asked_s = min(self._asked_s, time.monotonic())

    def close(self) -> None:
        """Takes our announcement back."""
        try:
            self._transport.try_publish(self._topic, b"", qos=1, retain=True)
        except errors.BrokerError as problem:
            log.debug("announcement stays topic=%s reason=%s", self._topic, problem)

    def take(self, message: Message) -> bool:
        """Whether it was a message of a cloud about itself. PeerError if another cloud had our name first."""
        try:
            topic = topics.parse(message.topic)
        except errors.FrameError:
            return False
        try:
            if message.topic == self._clash.topic:
                self._clash.take(message)
            elif topic.kind is Kind.SERVES:
                self._announce(topic.device, message.payload)
            elif topic.kind is Kind.STATUS:
                self._live(topic.device, message.payload)
            else:
                return False
        except errors.FrameError as problem:
            log.debug("message of a cloud ignored topic=%s reason=%s", message.topic, problem)
        return True

    def serve(self, package: str) -> bool:
        """Whether another cloud that is online answers frames of that package."""
        return any(name in self._lives and told.serves(package) for name, told in list(self._announced.items()))

    def _announce(self, name: str, payload: bytes) -> None:
        if name == self._name:
            if payload != self._ours.as_json():
                self._session = None  # one that had our name took it back: `tend` says ours again
            return
        if not payload:
            self._announced.pop(name, None)
        elif name in self._announced or len(self._announced) < _MOST:
            is_new = name not in self._announced
            self._announced[name] = announcements.parse(payload)
            if is_new:
                self._subscribe(topics.topic(self._deployment, name, Kind.STATUS))

    def _live(self, name: str, payload: bytes) -> None:
        if payload and presence.parse(payload).state == "online":
            self._lives.add(name)
            self._gone.discard(name)
        else:
            self._lives.discard(name)
            self._gone.add(name)

    def _subscribe(self, topic_filter: str) -> None:
        try:
            self._transport.subscribe(topic_filter)
        except errors.BrokerError as problem:
            log.warning("other clouds are not heard filter=%s reason=%s", topic_filter, problem)
