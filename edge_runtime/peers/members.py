"""The machines of a placement as the source sees them: who is there, who may take part, and why others may not.

Pure but for what it is told: time comes in as an argument.
"""

import math
from collections.abc import Iterable, Mapping

from broker.messages.peers.standing import Standing, State
from broker.messages.presence import Status
from tflsplit.kernels import classes
from tflsplit.kernels.classes import KernelClass
from tflsplit.values.classes import dataclass

# A machine that was lost is taken back at once the first time, after so long the second, and twice as long each time
# more, so that one that comes and goes does not stop the others again and again.
_FIRST_BACK_S, _MOST_BACK_S = 2.0, 60.0


@dataclass(slots=True)
class Member:
    """What is known of a machine. `lost_at_s` is when it was lost last, `back_at_s` when it may take part (again)."""

    standing: Standing | None = None
    heard_at_s: float = 0.0
    status: Status | None = None
    speed: float | None = None
    losses: int = 0
    lost_at_s: float = -math.inf
    back_at_s: float = 0.0


class Members:
    """`kinds` are the model's operator kinds, `ours` the kernels of the source's machine."""

    def __init__(
        self,
        names: Iterable[str],
        bundle: str,
        kinds: Iterable[str],
        ours: KernelClass | None,
        *,
        lost_after_s: float,
        allows_inexact: bool,
    ) -> None:
        self._members = {name: Member() for name in names}
        self._bundle = bundle
        self._kinds = tuple(kinds)
        self._ours = ours
        self._lost_after_s = lost_after_s
        self._allows_inexact = allows_inexact
        self._deaf_until_s = 0.0

    def heard(self, name: str, standing: Standing, now_s: float) -> None:
        if name in self._members:
            member = self._members[name]
            if standing.speed is not None:
                # One beat may be of a moment that something else took.
                member.speed = standing.speed if member.speed is None else (member.speed + standing.speed) / 2
            member.standing, member.heard_at_s = standing, now_s

    def deaf(self, now_s: float) -> None:
        """We hear nobody now; that says nothing of them."""
        self._deaf_until_s = now_s

    def told(self, name: str, status: Status) -> None:
        """What the broker says of its connection; the last will of one that was replaced since is ignored."""
        member = self._members.get(name)
        if member is not None and not (member.status is not None and status.is_late(member.status)):
            member.status = status

    def lost(self, name: str, now_s: float) -> None:
        """It took part and does no longer: it is let back in after a while, once it says how it stands. (What it said
        before may be of a process that is gone, while the broker says that a new one is there.)"""
        member = self._members[name]
        member.lost_at_s = now_s
        if member.losses:
            member.back_at_s = now_s + min(_MOST_BACK_S, _FIRST_BACK_S * 2 ** (member.losses - 1))
        member.losses += 1

    def standing(self, name: str) -> Standing | None:
        return self._members[name].standing

    def speed(self, name: str) -> float | None:
        """How many times as quick as stated it was found to be, of late."""
        return self._members[name].speed

    def usable(self, now_s: float) -> frozenset[str]:
        return frozenset(
            name
            for name, member in self._members.items()
            if self.problem(name, now_s) is None and now_s >= member.back_at_s and member.heard_at_s > member.lost_at_s
        )

    def missing(self, now_s: float) -> Mapping[str, str]:
        """Those that cannot take part, each with the reason."""
        found = {name: self.problem(name, now_s) for name in self._members}
        return {name: why for name, why in found.items() if why is not None}

    def refused(self) -> Mapping[str, str]:
        """Those that are there and may not take part, whatever they do."""
        return {
            name: why
            for name, member in self._members.items()
            if member.standing is not None and (why := self._refusal(member.standing)) is not None
        }

    def problem(self, name: str, now_s: float) -> str | None:
        member = self._members[name]
        standing, status = member.standing, member.status
        if standing is None or standing.state is State.ENDED:
            return "it is not there"
        if status is not None and status.state == "offline" and status.boot == standing.boot:
            return "its connection is lost"
        silent_s = now_s - max(member.heard_at_s, self._deaf_until_s)
        if silent_s > self._lost_after_s:
            return f"it is silent for {silent_s:.1f} s"
        return self._refusal(standing)

    def _refusal(self, standing: Standing) -> str | None:
        if standing.bundle != self._bundle:
            return f"it has another bundle, {standing.bundle[:16]} in place of {self._bundle[:16]}"
        if not self._allows_inexact and self.is_exact(standing) is not True:
            there, ours = standing.kernel_class, self._ours
            words = "not known to be exact"
            if there is not None and ours is not None:
                words = str(classes.compare(ours, there, self._kinds))
            return f"its kernels are {there or 'not told'}, and those of the source {ours or 'not told'}: {words}"
        return None

    def is_exact(self, standing: Standing) -> bool | None:
        """Whether its kernels give what the source's give; None where that is not known."""
        if standing.kernel_class is None or self._ours is None:
            return None
        found = classes.compare(self._ours, standing.kernel_class, self._kinds)
        return False if found.differing else None if found.unknown else True

    def exactness(self, names: Iterable[str]) -> bool | None:
        """Of all these machines together."""
        found = [self.is_exact(standing) for name in names if (standing := self._members[name].standing) is not None]
        return False if False in found else None if None in found else True
