"""The clouds of the deployment, as they announce themselves: what they serve, and when one comes."""

import logging

from broker.messages import announcements, topics
from broker.messages.announcements import Announcement
from broker.transport.protocol import Message
from tflsplit import errors
from tflsplit.kernels.classes import KernelClass

log = logging.getLogger(__name__)

# More than this many clouds of one deployment are not remembered.
_MOST = 1024
# Who sends frames for so long, with no answer and no cloud announced, is told. A tail's first run takes less.
_ALONE_S = 3.0


class Clouds:
    """The results thread tells, any thread asks. A cloud that died without a goodbye is still listed, unless another
    one has seen it die."""

    def __init__(self) -> None:
        self.changes = 0  # of what is announced
        self._announced: dict[str, Announcement] = {}
        self._heard: set[str] = set()  # who spoke while we listened; of others the broker has retained it
        self._alone_since_s: float | None = None
        self._is_known = False

    def take(self, message: Message) -> bool:
        """A message on `serves`; whether it says that a cloud has come, for the first time or again."""
        try:
            name = topics.parse(message.topic).device
            told = announcements.parse(message.payload) if message.payload else None
        except errors.FrameError as problem:
            log.debug("announcement ignored topic=%s reason=%s", message.topic, problem)
            return False
        known = self._announced.get(name)
        self.changes += told != known
        if told is None:
            self._announced.pop(name, None)
            self._heard.discard(name)
            return False
        for dead in told.gone - {name}:
            self.changes += self._announced.pop(dead, None) is not None
            self._heard.discard(dead)
        if known is not None or len(self._announced) < _MOST:
            self._announced[name] = told
            if not message.retained and name not in self._heard:
                self._heard.add(name)
                self.changes += 1
        if known is not None and known.boot == told.boot and (known.ready, known.gone) != (told.ready, told.gone):
            return False  # it opened a tail, or saw another one die, and was here all the time
        # What the broker had retained is no news, unless that cloud was another one before we were away.
        return not message.retained or (known is not None and known.boot != told.boot)

    def look(self, now_s: float, deployment: str, *, waits: bool) -> None:
        """Called regularly: says once if there is no cloud. `waits` tells whether frames can be sent, were, and none
        was ever answered. A cloud that takes frames out of a queue does not announce itself, but answers."""
        self._is_known = self._is_known or bool(self._announced)
        if self._is_known or not waits:
            self._alone_since_s = None
            return
        self._alone_since_s = now_s if self._alone_since_s is None else self._alone_since_s
        if now_s - self._alone_since_s >= _ALONE_S:
            self._is_known = True
            log.warning(
                "no cloud is present, frames wait for one; start one with `tflsplit cloud PKG --broker URL "
                "--deployment NAME`, or see that both have the same deployment deployment=%s",
                deployment,
            )

    def kernel_classes(self, package: str) -> dict[str, KernelClass | None]:
        """Of the clouds that say that they answer frames of that package, by name."""
        announced = dict(self._announced)
        return {name: told.kernel_class for name, told in announced.items() if told.serves(package)}

    def open_tails(self, package: str, *, only_heard: bool = False) -> dict[str, frozenset[str]]:
        """Of the clouds that answer frames of that package, by name; `only_heard`: of those that spoke to us, if one
        did."""
        return {name: each.ready_cuts(package) for name, each in self._serving(package, only_heard=only_heard).items()}

    def ready(self, package: str, *, only_heard: bool = False) -> frozenset[str]:
        """The cuts whose tails all of these have open; none where one does not tell, as those of older versions."""
        told = self.open_tails(package, only_heard=only_heard).values()
        return frozenset.intersection(*told) if told else frozenset()

    def read(self, package: str, codec: int, *, only_heard: bool = False) -> bool:
        """Whether all of these say that they read frames of that codec."""
        return all(codec in each.codecs for each in self._serving(package, only_heard=only_heard).values())

    @property
    def allow_probes(self) -> bool:
        """Whether none of them asks that no link be measured by probes."""
        return all(told.allows_probes for told in list(self._announced.values()))

    def serve(self, package: str) -> bool:
        """Whether one of them says that it answers frames of that package."""
        return any(told.serves(package) for told in list(self._announced.values()))

    def _serving(self, package: str, *, only_heard: bool) -> dict[str, Announcement]:
        told = {name: each for name, each in list(self._announced.items()) if each.serves(package)}
        heard = {name: each for name, each in told.items() if name in self._heard}
        return heard if heard and only_heard else told
