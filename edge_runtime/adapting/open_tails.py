"""Which candidates the clouds have open, and why others are not used."""

import logging
import math
from collections.abc import Sequence

from edge_runtime.delivery.clouds import Clouds

log = logging.getLogger(__name__)

# A cloud that lives says what it has open soon after a device has come. What the broker retains of one that has said
# nothing for so long is no reason to stay: it may have died without a goodbye.
_SPEAKS_S = 10.0
# A cut that is not ready for so long is told of: clouds open tails within seconds.
_LATE_S = 30.0


class OpenTails:
    """`always` are served as they always were, so that they are used in any case. For one thread."""

    def __init__(self, clouds: Clouds, package: str, candidates: Sequence[str], always: frozenset[str]) -> None:
        self.missing: str | None = None  # why candidates are not used, once that has lasted
        self._clouds = clouds
        self._package = package
        self._candidates = candidates
        self._always = always
        self._since_s = math.inf  # when clouds could hear of us first
        self._seen: tuple[int, bool] | None = None

    def online(self, now_s: float) -> None:
        self._since_s = min(self._since_s, now_s)

    def look(self, now_s: float) -> frozenset[str] | None:
        """What may be used, where that may have changed."""
        seen = (self._clouds.changes, now_s - self._since_s >= _SPEAKS_S)
        if seen == self._seen:
            return None
        self._seen = seen
        return self._clouds.ready(self._package, only_heard=seen[1]) | self._always

    def read(self, codec: int) -> bool:
        """Whether the clouds say that they read frames of that codec."""
        is_late = self._seen is not None and self._seen[1]
        return self._clouds.read(self._package, codec, only_heard=is_late)

    def tell(self, now_s: float, *, is_answered: bool) -> None:
        """Called regularly: says once of what a candidate waits for. `is_answered` tells whether a cloud is there."""
        if now_s - self._since_s < _LATE_S or not is_answered:
            return
        before, self.missing = self.missing, self._reason()
        if self.missing not in (None, before):
            log.warning("cuts not used cuts=%s", self.missing)

    def _reason(self) -> str | None:
        lacking = {
            name: wanted
            for name, ready in self._clouds.open_tails(self._package, only_heard=True).items()
            if (wanted := [cut for cut in self._candidates if cut not in ready | self._always])
        }
        if lacking:
            return "; ".join(f"{','.join(cuts)} ({name} has not opened their tails)" for name, cuts in lacking.items())
        wanted = [cut for cut in self._candidates if cut not in self._always]
        if wanted and not self._clouds.open_tails(self._package, only_heard=True):
            return f"{','.join(wanted)} (no cloud tells which tails it has open; one at a --queue does with --broker)"
        return None
