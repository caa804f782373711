"""Whether somebody else runs under our device's name: then answers to frames that are not ours keep coming.

For a while they do after any restart, for what the run before had sent. Pure: the clock comes in as an argument.
"""

from dataclasses import dataclass

# Frames of a run that ended are answered within seconds; a minute later its window has long been worked off.
_PATIENCE_S = 60.0


@dataclass(slots=True)
class NameClash:
    """The run that is not ours of which we saw answers last; `is_told` once somebody was told of it."""

    boot: int | None = None
    since_s: float = 0.0
    is_told: bool = False

    def note(self, boot: int, now_s: float) -> bool:
        """An answer came for that run; whether it is time to tell of it, once."""
        if boot != self.boot:
            self.boot, self.since_s, self.is_told = boot, now_s, False
        if self.is_told or now_s - self.since_s < _PATIENCE_S:
            return False
        self.is_told = True
        return True
