"""What the devices of each kind have measured last, for one that starts."""

import statistics
import time
from collections.abc import Callable

from broker.messages import siblings
from broker.messages.siblings import Figures
from tflsplit.recent import Recent

# 20,000 devices, those that spoke last; their figures take Python 800 bytes each.
_MOST_BYTES, _ENTRY_BYTES = 16 << 20, 800
# What is older tells a device nothing any more: it forgets half in a minute at most.
_FORGET_S = 600.0


class Siblings:
    """One thread at a time. A device has one voice, whatever it says how often, since the broker knows it by its topic:
    of three and more none alone can move what is told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: Recent[str, tuple[float, Figures]] = Recent(_MOST_BYTES)

    def take(self, device: str, said: Figures) -> Figures | None:
        """Remembers what a device has measured; the answer, if it was a question."""
        if not said.devices:
            return self._of_others(device, said.kind)
        self._said.put(device, (self._clock(), said), _ENTRY_BYTES)
        return None

    def _of_others(self, device: str, kind: bytes) -> Figures:
        now_s = self._clock()
        found = [
            (now_s - said_s, said)
            for name, (said_s, said) in self._said.items()
            if name != device and said.kind == kind and now_s - said_s < _FORGET_S
        ]
        if not found:
            return Figures(kind, 0)

        def usual(name: str) -> float:
            # Of two the better: who tries it learns, who does not try it learns nothing.
            return statistics.median_low([float(getattr(said, name)) for _, said in found])

        age_s = statistics.median_low([age_s for age_s, _ in found])
        return Figures(
            kind,
            min(len(found), 65_535),
            max(0.0, age_s - siblings.EVERY_S),
            *map(usual, ("s_per_bit", "rtt_s", "edge_slower", "cloud_slower", "cloud_wait_s")),
        )
