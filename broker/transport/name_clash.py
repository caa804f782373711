"""Two processes under one name: each hears the other on the retained status of that name, and the later one yields.

A status that the broker has retained may be of a process that died; one that comes while we listen is of one that
lives. So each says its status once more when it hears of the other, and once after it began to listen. Whose start is
later, by what both say of it (and for the same moment, by their ids), ends: both come to the same result.
"""

import logging
import time

from broker.messages import presence, topics
from broker.transport.protocol import Message, Transport
from tflsplit import errors

log = logging.getLogger(__name__)


class NameClash:
    """For the thread that receives. Where the transport has no presence it only warns.

    A process that comes back has its own id, and a status of ours that was replaced (by an old last will, say) is said
    again.
    """

    def __init__(self, transport: Transport, deployment: str, name: str, boot: int) -> None:
        self.topic = topics.topic(deployment, name, topics.Kind.STATUS)
        self._transport = transport
        self._name = name
        self._boot = boot
        self._warned_of: int | None = None

    def start(self) -> None:
        """Listens. A broker that does not let us keeps us from noticing, and no more."""
        try:
            self._transport.subscribe(self.topic)
            self._transport.say_online()  # so that one who answers to it is heard
        except errors.BrokerError as problem:
            log.warning("another process of our name would not be noticed filter=%s reason=%s", self.topic, problem)

    def take(self, message: Message) -> bool:
        """A message on `topic`; whether another process speaks in our name, or has ended, so that whatever else it
        said there has to be said again. PeerError if the name is that other's, which was there first."""
        try:
            said = presence.parse(message.payload)
        except errors.FrameError as problem:
            log.debug("status ignored topic=%s reason=%s", message.topic, problem)
            return False
        is_ours = said.boot == self._boot
        if is_ours and said.state == "online":
            return False
        ours = self._transport.say_online()
        if is_ours or message.retained or said.state == "offline":
            return not is_ours  # one that is there, if there is one, has heard us now
        since_ms = said.since_ms
        if ours is not None and since_ms is not None and (since_ms, said.boot) < (ours.since_ms, ours.boot):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since_ms / 1e3))
            raise errors.PeerError(
                f"another process is {self._name!r} at this broker since {since}: give each a name of its own"
            )
        if said.boot != self._warned_of:
            self._warned_of = said.boot
            log.warning("another process has our name, and should yield name=%s boot=%016x", self._name, said.boot)
        return True
