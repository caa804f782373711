"""Detects a second edge under our device's name: then answers keep coming to frames that are not ours.

After a restart such answers come for a short time too, to frames of the run before. Pure: the clock is an argument.
"""

from dataclasses import dataclass

# Frames of a run that ended are answered within seconds, so a minute later no answer should come.
_PATIENCE_S = 60.0


@dataclass(slots=True)
class NameClash:
    """`boot` is the foreign run whose answers came last, `is_told` whether it was reported."""

    boot: int | None = None
    since_s: float = 0.0
    is_told: bool = False

    def note(self, boot: int, now_s: float) -> bool:
        """Notes an answer for a foreign run; returns whether to report it now, once for each run."""
        if boot != self.boot:
            self.boot, self.since_s, self.is_told = boot, now_s, False
        if self.is_told or now_s - self.since_s < _PATIENCE_S:
            return False
        self.is_told = True
        return True
