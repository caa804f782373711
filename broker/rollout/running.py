"""Runs a rollout: takes devices that are there, in phases, judges each phase, and obeys whoever steers it.

One thread serves all devices. Those that are off are passed over, and taken when they appear. Where gates compare with
the time before, the devices of the next phase are observed while this one goes on, so that they wait for nothing then.
"""

import contextlib
import enum
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from broker.messages import topics
from broker.rollout import devices
from broker.rollout.bundles import Bundles
from broker.rollout.statefile import Entry, State, StateFile, Wish
from broker.rollout.visit import Means, Visit, is_online
from broker.transport.protocol import ConnectionState
from tflsplit import errors

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_AT_ONCE = 1000  # messages taken before the devices are looked at
# Of its time, for looking at thousands of devices after each message would leave none for what they say.
_LOOKING = 0.1
_AHEAD_AT_ONCE = 50  # devices that begin to be observed between two looks, for each is asked for at the broker
_LATE_S = 1.0  # of a pace, what may be made up for
_KEEP_S = 1.0  # how often what changed is written, where no offer waits for it


class Ending(str, enum.Enum):
    DONE = "done"
    HALTED = "halted"
    ABORTED = "aborted"
    LEFT = "left"  # devices that did not appear
    STOPPED = "stopped"


class Rollout:
    """`bundles_to` opens the package to go back to. `on_change` is told of each device that has its final state.

    After `stay_s` without a device that could be taken `run` ends; None: it waits for them.
    """

    def __init__(
        self,
        means: Means,
        state: StateFile,
        bundles: Bundles,
        bundles_to: Callable[[Path], Bundles],
        *,
        stay_s: float | None = None,
        on_change: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        self._means, self._state, self._stay_s, self._on_change = means, state, stay_s, on_change
        self._bundles, self._bundles_to = bundles, bundles_to
        self._back: Bundles | None = None
        self._visits: dict[str, Visit] = {}
        self._ahead: dict[str, Visit] = {}  # of devices that are only observed, for the next phase
        self._ready: deque[Visit] = deque()  # by the last look: each is offered when a model has travelled
        self._travelling: set[str] = set()
        self._sort()
        self._changed: set[str] = set()
        self._kept_at_s = self._busy_at_s = self._offer_at_s = time.monotonic()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends `run` from any thread or a signal; what is under way goes on at the next start."""
        self._stopping.set()

    def run(self) -> Ending:
        """BrokerError if the broker refuses us."""
        try:
            due_s = 0.0
            while not self._stopping.is_set():
                self._hear(due_s)
                began_s = time.monotonic()
                if (ending := self._step(began_s)) is not None:
                    return ending
                ended_s = time.monotonic()
                due_s = ended_s + min(_LOOK_S, (ended_s - began_s) / _LOOKING)
            return Ending.STOPPED
        finally:
            self._keep(time.monotonic(), is_due=True)
            for visit in (*self._visits.values(), *self._ahead.values()):
                visit.close()

    def _hear(self, due_s: float) -> None:
        """Takes what comes until `due_s`, and what is there then."""
        means = self._means
        for turn in itertools.count():
            early_s, may_offer = max(0.0, due_s - time.monotonic()), self._may_offer
            message = means.transport.receive(0.0 if may_offer else early_s if turn else _LOOK_S)
            if message is None and may_offer:
                self._offer(time.monotonic())
                continue
            if message is None:
                break
            means.transport.acknowledge(message)
            means.roster.take(message)
            with contextlib.suppress(errors.FrameError):
                topic = topics.parse(message.topic)
                visit = self._visits.get(topic.device)
                if topic.kind in devices.RETAINED:
                    continue
                if visit is not None:
                    visit.take(topic.kind, message, time.monotonic())
                    self._note(visit)
                    if visit.entry.state.is_bad:
                        self._ready.clear()  # the next look judges first whether it goes on
                elif topic.device in self._ahead:
                    self._ahead[topic.device].take(topic.kind, message, time.monotonic())
            if turn >= _AT_ONCE and not early_s:
                break
        if means.transport.state is ConnectionState.CLOSED:
            raise errors.BrokerError("the broker refuses the connection; the rollout goes on at its next start")

    def _step(self, now_s: float) -> Ending | None:
        wish = self._obey()
        if wish is Wish.ABORT:
            self._state.course.ended = Ending.ABORTED.value
            return Ending.ABORTED
        self._look(now_s)
        self._judge()
        self._ready.clear()
        is_taking = wish is not Wish.PAUSE and self._state.course.halted is None
        if is_taking and is_online(self._means.transport):
            self._take(now_s)
            self._observe_ahead(now_s)
            self._ready.extend(visit for visit in self._visits.values() if visit.may_be_offered(now_s))
            self._offer(now_s)
        self._keep(now_s)
        return self._ending(now_s, wish)

    def _obey(self) -> Wish:
        wish, to = self._state.wish
        course = self._state.course
        if wish is Wish.GO_ON:
            if course.halted is not None:
                course.halted = None
                self._begin_phase()
            self._state.want(Wish.RUN)
            self._keep(time.monotonic(), is_due=True)
        if wish is Wish.BACK and to is not None and self._back is None:
            self._back = self._bundles_to(to)
            if not course.is_back:
                self._turn_back()
        return wish

    def _turn_back(self) -> None:
        """Every device that was made an offer, and did not go back by itself, gets the model of before. Those that were
        on their way may have taken it."""
        for visit in (*self._visits.values(), *self._ahead.values()):
            visit.close()
        self._visits.clear()
        self._ahead.clear()
        self._travelling.clear()
        for name, entry in self._state.entries.items():
            if entry.offer is not None and entry.state is not State.FAILED:
                self._state.entries[name] = Entry(name)
            else:
                entry.state = State.SPARED
            self._changed.add(name)
        course = self._state.course
        course.is_back, course.halted, course.ended = True, None, None
        self._begin_phase()
        self._keep(time.monotonic(), is_due=True)

    def _look(self, now_s: float) -> None:
        for name, visit in list(self._visits.items()):
            before = visit.entry.state
            is_awaited = before in (State.WAITING, State.OFFERED)
            if is_awaited and is_online(self._means.transport) and not self._is_there(name):
                visit.put_off()
            elif visit.entry.phase > 0:
                visit.look(now_s)
            if visit.entry.state is not before or not visit.entry.is_under_way:
                self._changed.add(name)
            if not visit.entry.is_under_way:
                visit.close()
                del self._visits[name]
                self._travelling.discard(name)
                if visit.entry.state.is_final:
                    self._left.pop(name, None)  # a phase that began since it ended did not count it
                    self._on_change(visit.entry)
                else:
                    self._members.pop(name, None)

    def _begin_phase(self) -> None:
        self._state.course.phase += 1
        self._sort()

    def _sort(self) -> None:
        """Those that are `left` have no final state yet; `members` are all of this phase."""
        entries, phase = self._state.entries, self._state.course.phase
        self._left = {name: entry for name, entry in entries.items() if not entry.state.is_final}
        self._members = {name: entry for name, entry in entries.items() if entry.phase == phase}

    def _judge(self) -> None:
        """Begins the next phase when all devices of this one have their final state, or halts. What is under way then
        is judged too."""
        course, members = self._state.course, self._members
        if not members or course.is_back:
            return
        is_over = members.keys().isdisjoint(self._left) and (len(members) >= self._state.size or not self._left)
        problem = self._problem(list(members.values()), is_over=is_over)
        if problem is not None and problem != course.halted:
            course.halted = problem
            log.error("rollout halted phase=%d reason=%r", course.phase, problem)
        elif course.halted is None and is_over:
            log.info("phase over phase=%d devices=%d", course.phase, len(members))
            self._begin_phase()
        else:
            return
        self._keep(time.monotonic(), is_due=True)

    def _problem(self, members: list[Entry], *, is_over: bool) -> str | None:
        terms = self._state.plan.terms
        of = len(members) if is_over else max(self._state.size, len(members))
        bad = [each for each in members if each.state.is_bad]
        what = "the canary" if self._state.course.phase == 1 else f"phase {self._state.course.phase}"
        if len(bad) > terms.most_failed * of + 1e-9:
            shown = devices.some([f"{each.name} ({each.reason or each.said or each.state.value})" for each in bad])
            return f"{len(bad)} of {of} devices of {what} failed, more than {100 * terms.most_failed:g}%: {shown}"
        well = [each for each in members if each.state is State.INSTALLED]
        for asked in ("latency", "agreement") if is_over and well else ():
            if all(asked in each.lacking for each in well):
                return (
                    f"the {asked} of no device of {what} could be compared: too little was heard before or after; "
                    "give a longer --soak, or leave that gate out"
                )
        return None

    def _take(self, now_s: float) -> None:
        """Takes devices into the phase, in order, as many as it has."""
        room = self._state.size - len(self._members)
        for name, entry in self._left.items():
            if room > 0 and entry.phase == 0 and self._may_take(entry):
                entry.phase, room = self._state.course.phase, room - 1
                self._members[name] = entry
            if entry.phase > 0 and name not in self._visits:  # taken now, or at an earlier start
                self._visit(entry, now_s)

    def _observe_ahead(self, now_s: float) -> None:
        """Of those that are taken next, if they are there still."""
        course, terms = self._state.course, self._state.plan.terms
        if course.is_back or not terms.observes or len(self._members) < self._state.size:
            return
        room = min(_AHEAD_AT_ONCE, terms.size(course.phase + 1, len(self._state.entries)) - len(self._ahead))
        for entry in self._left.values() if room > 0 else ():
            is_next = entry.phase == 0 and entry.state is State.WAITING and entry.name not in self._ahead
            if room > 0 and is_next and self._may_take(entry):
                visit = self._visit_of(entry, now_s)
                if visit is None:
                    return
                self._ahead[entry.name], room = visit, room - 1

    def _may_take(self, entry: Entry) -> bool:
        may_be_offered = self._means.roster.may_be_offered(entry.name, entry.serial)
        return may_be_offered and self._means.transport.reaches(entry.name)

    def _is_there(self, name: str) -> bool:
        """What its broker says of a device is old once that broker is away."""
        return self._means.roster.is_there(name) and self._means.transport.reaches(name)

    def _visit(self, entry: Entry, now_s: float) -> None:
        if not self._is_there(entry.name) and entry.state is not State.OBSERVED:
            entry.state, entry.phase = State.WAITING, 0
            self._members.pop(entry.name, None)
            return
        visit = self._ahead.pop(entry.name, None) or self._visit_of(entry, now_s)
        if visit is None:
            return
        entry.began_s = entry.began_s or self._means.clock_s()
        self._visits[entry.name] = visit
        self._note(visit)
        self._kept_at_s = float("-inf")  # what it says is on disk before it is said

    def _visit_of(self, entry: Entry, now_s: float) -> Visit | None:
        """None where the link broke: it is visited when the link is back."""
        course, plan = self._state.course, self._state.plan
        bundles = self._back if course.is_back and self._back is not None else self._bundles
        try:
            return Visit(self._means, plan, bundles, entry, now_s, is_back=course.is_back)
        except errors.BrokerError:
            if is_online(self._means.transport):
                raise
            return None

    def _note(self, visit: Visit) -> None:
        """That something of it has changed."""
        self._changed.add(visit.entry.name)
        if visit.is_travelling:
            self._travelling.add(visit.entry.name)
        else:
            self._travelling.discard(visit.entry.name)

    @property
    def _may_offer(self) -> bool:
        is_due = bool(self._ready) and time.monotonic() >= self._offer_at_s
        return is_due and len(self._travelling) < self._state.plan.terms.at_once

    def _offer(self, now_s: float) -> None:
        """To as many as may travel now."""
        offered, pace_per_s = [], self._state.plan.terms.pace_per_s
        while self._may_offer:
            offered.append(self._ready.popleft())
            offered[-1].offer(now_s)
            self._note(offered[-1])
            if pace_per_s is not None:
                self._offer_at_s = max(self._offer_at_s, now_s - _LATE_S) + 1 / pace_per_s
        self._keep(now_s, is_due=bool(offered))  # what is said is on disk before
        for visit in offered:
            visit.look(now_s)

    def _keep(self, now_s: float, *, is_due: bool = False) -> None:
        if is_due or (self._changed and now_s - self._kept_at_s >= _KEEP_S):
            self._state.save(self._state.entries[name] for name in self._changed)
            self._changed.clear()
            self._kept_at_s = now_s

    def _ending(self, now_s: float, wish: Wish) -> Ending | None:
        if self._state.course.halted is not None:
            return None if self._visits else Ending.HALTED
        if not self._left:
            self._state.course.ended = Ending.DONE.value
            return Ending.DONE
        if self._visits or wish is Wish.PAUSE or not is_online(self._means.transport):
            self._busy_at_s = now_s
            return None
        return Ending.LEFT if self._stay_s is not None and now_s - self._busy_at_s >= self._stay_s else None
