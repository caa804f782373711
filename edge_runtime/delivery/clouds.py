"""The clouds of the deployment, as they announce themselves: what they serve, and when one comes."""

import logging

from broker.messages import announcements, topics
from broker.messages.announcements import Announcement
from broker.transport.protocol import Message
from tflsplit import errors

log = logging.getLogger(__name__)

# More than this many clouds of one deployment are not remembered.
_MOST = 1024


class Clouds:
    """The results thread tells, any thread asks. A cloud that died without a goodbye is still listed."""

    def __init__(self) -> None:
        self._announced: dict[str, Announcement] = {}

    def take(self, message: Message) -> bool:
        """A message on `serves`; whether it says that a cloud has come, for the first time or again."""
        try:
            name = topics.parse(message.topic).device
            told = announcements.parse(message.payload) if message.payload else None
        except errors.FrameError as problem:
            log.debug("announcement ignored topic=%s reason=%s", message.topic, problem)
            return False
        known = self._announced.get(name)
        if told is None:
            self._announced.pop(name, None)
            return False
        if known is not None or len(self._announced) < _MOST:
            self._announced[name] = told
        # What the broker had retained is no news, unless that cloud was another one before we were away.
        return not message.retained or (known is not None and known.boot != told.boot)

    def serve(self, package: str) -> bool:
        """Whether one of them says that it answers frames of that package."""
        return any(told.serves(package) for told in list(self._announced.values()))
