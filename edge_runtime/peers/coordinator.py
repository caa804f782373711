"""What the source's machine decides: which placement is in force, and from when on.

Each change of the placement is an epoch. Frames of an epoch are begun when every machine that takes part has said that
it is ready; what is not answered by then is computed again under the new one.
"""

import enum
import logging
from collections import Counter
from collections.abc import Callable, Mapping

from broker.messages.peers.epochs import Epoch
from broker.messages.peers.standing import Standing, State
from edge_runtime.peers import replanning
from edge_runtime.peers.members import Members
from edge_runtime.peers.replanning import Replanner
from edge_runtime.peers.settings import Settings
from edge_runtime.peers.shares import Shares
from tflsplit import errors
from tflsplit.placement import planfile, recovery
from tflsplit.placement.placement import Placement

log = logging.getLogger(__name__)

# How long machines may take to open their pieces.
_LOADING_S = 120.0
# A machine is worked around that is so many times as slow (or as quick) as assumed, for so long.
_ODD = 2.0
_ODD_FOR_S = 3.0


class Phase(enum.Enum):
    GATHERING = "gathering"
    PREPARING = "preparing"
    RUNNING = "running"


class Change(enum.Enum):
    """Why a placement comes into force."""

    START = "start"
    LOST = "lost"
    BACK = "back"
    UNANSWERED = "unanswered"
    BETTER = "better"


class Coordinator:
    """For one thread, which calls `tick` some times a second; `publish` announces an epoch."""

    def __init__(
        self,
        shares: Shares,
        members: Members,
        settings: Settings,
        publish: Callable[[Epoch], None],
        *,
        planner: Replanner | None,
        now_s: float,
    ) -> None:
        self.phase = Phase.GATHERING
        self.epoch: Epoch | None = None
        self._shares = shares
        self._plan = shares.shared.plan
        self._members = members
        self._settings = settings
        self._publish = publish
        self.changes: Counter[Change] = Counter()
        self._since_s = now_s
        self._taking_part: dict[str, tuple[int, int]] = {}
        self._said_missing: Mapping[str, str] = {}
        self._planner = planner
        self._known: dict[frozenset[int], Placement] = {}
        self._placed = self._plan.placement()
        self._assumed: dict[int, float] = {}
        self._odd_since_s: dict[int, float] = {}
        self._is_asked = False
        self._counted = self._all

    @property
    def window(self) -> int:
        return self._settings.window or 2 * len(recovery.used(self._plan.placement()))

    def tick(self, now_s: float, moved_at_s: float | None) -> None:
        """`moved_at_s` is when a frame was answered last; None where none is waited for. PeerError where a machine
        that the first placement needs may not take part."""
        if self.phase is Phase.GATHERING:
            self._gather(now_s)
            return
        if (lost := self._lost(now_s)) is not None:
            self._declare(now_s, Change.LOST, lost)
        elif back := self._back(now_s):
            self._declare(now_s, Change.BACK, f"{', '.join(sorted(back))} came back")
        elif self.phase is Phase.PREPARING:
            self._prepare(now_s)
        elif moved_at_s is not None and now_s - max(moved_at_s, self._since_s) > self._patience_s:
            self._declare(now_s, Change.UNANSWERED, "no frame was answered for too long")
        else:
            self._improve(now_s)

    def over(self) -> None:
        """There are no more frames."""
        if self.epoch is not None:
            fields = {name: getattr(self.epoch, name) for name in self.epoch.__slots__}
            self._publish(Epoch(**fields | {"over": True}))

    @property
    def _patience_s(self) -> float:
        expected_ms = self._plan.expected.get("latency_ms")
        expected_s = float(expected_ms) / 1e3 if isinstance(expected_ms, int | float) else 0.0
        return self._settings.resend_after_s + 5 * expected_s * self.window

    def _gather(self, now_s: float) -> None:
        names, needed = self._plan.machines, recovery.used(self._plan.placement())
        refused = {name: why for name, why in self._members.refused().items() if names.index(name) in needed}
        if refused:
            name, why = next(iter(refused.items()))
            raise errors.PeerError(
                f"machine {name} cannot take part: {why}; give it what the others have, or leave it out of the machines"
            )
        missing = self._members.missing(now_s)
        waited_for = [name for name in missing if names.index(name) in needed]
        if not waited_for or (now_s - self._since_s >= self._settings.wait_s and self._settings.name not in missing):
            words = "start" if not waited_for else f"started without {', '.join(waited_for)}"
            self._declare(now_s, Change.START, words)
        elif dict(missing) != self._said_missing:
            self._said_missing = dict(missing)
            log.info("waiting for machines=%s", ",".join(waited_for))

    def _lost(self, now_s: float) -> str | None:
        """The machine without which the present placement cannot go on, and why; None where it can."""
        for name, seen in self._taking_part.items():
            why = self._members.problem(name, now_s) or self._change(name, seen)
            if why is not None:
                if name != self._settings.name:
                    self._members.lost(name, now_s)
                return f"{name}: {why}"
        return None

    def _change(self, name: str, seen: tuple[int, int]) -> str | None:
        """What has changed at a machine that is there, so that letters to it may be gone."""
        standing = self._members.standing(name)
        if standing is None or (standing.boot, standing.session) == seen:
            has_failed = standing is not None and standing.state is State.FAILED and self._is_of_now(standing)
            return (standing.why or "it failed") if standing is not None and has_failed else None
        return "it was started anew" if standing.boot != seen[0] else "its connection was lost meanwhile"

    def _back(self, now_s: float) -> set[str]:
        """Machines that could take part in a better placement than the present one."""
        planned = {self._plan.machines[each] for each in recovery.used(self._plan.placement())}
        return (planned & self._members.usable(now_s)) - {self._plan.machines[each] for each in self._counted}

    def _prepare(self, now_s: float) -> None:
        late = [name for name in self._taking_part if not self._is_ready(name)]
        if not late:
            self.phase, self._since_s = Phase.RUNNING, now_s
            log.info("placement in force epoch=%d machines=%s", self._number, ",".join(self._taking_part))
        elif now_s - self._since_s > _LOADING_S:
            self._members.lost(late[0], now_s)
            self._declare(now_s, Change.LOST, f"{late[0]}: it opened its pieces not in {_LOADING_S:g} s")

    def _is_ready(self, name: str) -> bool:
        standing = self._members.standing(name)
        return standing is not None and standing.state is State.READY and self._is_of_now(standing)

    def _is_of_now(self, standing: Standing) -> bool:
        return self.epoch is not None and (standing.run, standing.epoch) == self.epoch.key

    @property
    def _number(self) -> int:
        return 0 if self.epoch is None else self.epoch.epoch

    def _improve(self, now_s: float) -> None:
        """Looks for a better placement where machines were lost, or are not as quick as assumed, and changes to one
        that was found."""
        if self._planner is None or not self._planner.is_able:
            return
        there = self._there(now_s)
        found = self._planner.take()
        if found is not None and found.machines == there:
            self._known[there] = found.placed
            self._declare(now_s, Change.BETTER, f"a placement that is {found.gain:.2f} times as quick")
            return
        factors = self._factors()
        odd = self._odd(factors, now_s)
        if odd:
            self._assumed |= factors
            self._known.clear()
            self._odd_since_s.clear()
            names = ", ".join(f"{self._plan.machines[each]} {factors[each]:.2g}" for each in odd)
            log.warning("machines are not as quick as assumed, times as stated: %s", names)
            self._is_asked = False
        if not self._is_asked and (self._assumed or there != self._all):
            self._is_asked = self._planner.ask(there, self._assumed, self._placed)

    @property
    def _all(self) -> frozenset[int]:
        return frozenset(range(len(self._plan.machines)))

    def _there(self, now_s: float) -> frozenset[int]:
        there = self._members.usable(now_s) | {self._settings.name}
        return frozenset(each for each, name in enumerate(self._plan.machines) if name in there)

    def _factors(self) -> dict[int, float]:
        """How many times as quick as stated each machine is that computes."""
        told = {each: self._members.speed(name) for each, name in enumerate(self._plan.machines)}
        return {each: speed for each, speed in told.items() if speed is not None}

    def _odd(self, factors: Mapping[int, float], now_s: float) -> list[int]:
        """Machines that are much slower or quicker than assumed, and have been for a while."""
        found = replanning.slow_or_quick(factors, self._assumed, _ODD)
        self._odd_since_s = {each: self._odd_since_s.get(each, now_s) for each in found}
        return [each for each, since_s in self._odd_since_s.items() if now_s - since_s >= _ODD_FOR_S]

    def _declare(self, now_s: float, change: Change, reason: str) -> None:
        self.changes[change] += 1
        names, there = self._plan.machines, self._there(now_s)
        self._is_asked = there in self._known
        placed = self._known.get(there)
        if placed is None:
            placed = recovery.without(self._shares.network, self._plan.placement(), self._all - there)
        self._placed, self._counted = placed, there
        self._odd_since_s.clear()
        taking_part = tuple(names[each] for each in sorted(recovery.used(placed)))
        self._taking_part = {
            name: (standing.boot, standing.session)
            for name in taking_part
            if (standing := self._members.standing(name)) is not None
        }
        self.epoch = self._epoch(placed, taking_part, reason)
        self.phase, self._since_s = Phase.PREPARING, now_s
        log.log(
            logging.INFO if self._number == 1 else logging.WARNING,
            "placement changes epoch=%d machines=%s reason=%s",
            *(self._number, ",".join(taking_part), reason),
        )
        self._publish(self.epoch)

    def _epoch(self, placed: Placement, machines: tuple[str, ...], reason: str) -> Epoch:
        return Epoch(
            run=self._settings.boot,
            epoch=self._number + 1,
            bundle=self._shares.shared.digest,
            machines=machines,
            sink=placed.sink,
            stages=planfile.stages_of(placed),
            program=self._shares.fingerprint(placed),
            window=self.window,
            exact=self._members.exactness(machines),
            reason=reason,
            raw=self._settings.wants_raw,
            mask=self._settings.wants_mask,
        )
