"""A device with one frame in flight over a trace, in model time: what a policy would see, how long frames would take.

Each frame is taken at the next tick of the camera once the one before is answered. Its bytes go over the trace's link
behind what is still on its way; the server's time is stretched by what it does for others: with a share `load` of its
time gone, work of length s takes s / (1 - load) in the mean, whatever the other work is like (processor sharing).
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

from tflsplit.planning import network
from tflsplit.switching.choices import Choice, load_s, loaded
from tflsplit.switching.policy import LEAST_TELLING_BITS, Answer, Policy, Waiting
from tflsplit.switching.traces import Conditions, Trace
from tflsplit.values.classes import dataclass, replace


@dataclass(frozen=True, slots=True)
class Setting:
    """The device takes `slow_edge` times what was profiled; `rtt_s` holds where the trace says nothing of it."""

    fps: float = 10.0
    slow_edge: float = 1.0
    rtt_s: float = 0.04
    duration_s: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Played:
    """One frame: when it was taken, at which cut, and when it was answered."""

    taken_s: float
    choice: Choice
    latency_s: float
    is_hedged: bool

    def ticks(self, fps: float) -> int:
        """Ticks of the camera from the one that gave this frame to the next that finds the device free."""
        return max(1, math.ceil(self.latency_s * fps - 1e-9))


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes are those on the wire; `hedged` counts frames that the device computed too. In model time no frame is lost,
    and no result another one than the whole model's."""

    frames: list[Played]
    frame_bytes: float
    probe_bytes: float = 0.0
    lost: int = 0
    wrong: int = 0
    hedged: int = 0


class World:
    """The truth that policies only see parts of."""

    def __init__(self, trace: Trace, setting: Setting) -> None:
        self.trace = trace
        self.setting = setting
        self.has_loss = any(each.loss for each in trace.conditions)

    def luck(self, tick: int) -> float:
        """The same for every policy."""
        return random.Random(f"{self.setting.seed}:{tick}").random() if self.has_loss else 0.0  # noqa: S311

    def conditions(self, now_s: float) -> Conditions:
        return self.trace.conditions_at(now_s)

    def rtt_s(self, now_s: float) -> float:
        said = self.conditions(now_s).rtt_s
        return self.setting.rtt_s if said is None else said

    def edge_s(self, choice: Choice) -> float:
        return choice.edge_s * self.setting.slow_edge

    def send(self, choice: Choice, now_s: float, link_free_s: float, luck: float) -> tuple[float, Answer, float]:
        """The time of the answer, what is learnt with it, and when the link is free again."""
        sent_s = now_s + self.edge_s(choice)
        bits = choice.wire_bytes * 8
        there, rtt_s = self.conditions(sent_s), self.rtt_s(sent_s)
        arrived_s = self.trace.arrival_s(max(sent_s, link_free_s), bits / (1 - there.loss))
        again_s, share = network.sending_again(network.segments_on_wire(choice.wire_bytes), there.loss, rtt_s)
        arrived_s += again_s if luck < share else 0.0
        cloud_s = choice.cloud_s / (1 - there.load)
        link_s = arrived_s - sent_s + rtt_s
        answer = Answer(choice, sent_s, bits, self.edge_s(choice), link_s, 0.0, cloud_s)
        return arrived_s + rtt_s + cloud_s, answer, arrived_s

    def latency_s(self, choice: Choice, now_s: float, luck: float) -> float:
        """Over a link that is free."""
        if choice.is_local:
            return self.edge_s(choice)
        return self.send(choice, now_s, now_s, luck)[0] - now_s


class _Device:
    """One device: what it sent, what is still to come, and when it was last quiet."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self._coming: list[tuple[float, int, Answer]] = []
        self._order = itertools.count()
        self._link_free_s = 0.0
        self._sent_s = 0.0
        self._small_s = -math.inf
        self._loaded: Choice | None = None
        self._quiet_s = 0.0  # since when nothing is on its way
        self.probe_bytes = 0.0

    def frame(self, now_s: float, luck: float) -> Played:
        self._catch_up(now_s)
        oldest = min(self._on_its_way(), key=lambda answer: answer.sent_s, default=None)
        self._policy.pending(_waiting(oldest) if oldest else None)
        choice = self._policy.pick(now_s)
        played = self._played(choice, now_s + self._load_s(choice), luck)
        return replace(played, taken_s=now_s, latency_s=played.latency_s + played.taken_s - now_s)

    def _load_s(self, choice: Choice) -> float:
        """What the frame waits for its head."""
        before, self._loaded = self._loaded, loaded(self._loaded or choice, choice)
        return 0.0 if before is None else load_s(before, choice) * self._world.setting.slow_edge

    def _played(self, choice: Choice, now_s: float, luck: float) -> Played:
        edge_s = self._world.edge_s(choice)
        if choice.is_local:
            self._expect(now_s + edge_s, Answer(choice, now_s + edge_s, 0.0, edge_s, None))
            return Played(now_s, choice, edge_s, is_hedged=False)
        answered_s, answer, self._link_free_s = self._world.send(choice, now_s, self._link_free_s, luck)
        if answer.bits >= LEAST_TELLING_BITS:
            self._sent_s = answer.sent_s
        self._expect(answered_s, answer)
        overdue_s = self._policy.hedge_after_s(choice)
        may_answer = overdue_s is not None and math.isfinite(choice.rest_s)
        if overdue_s is None or not may_answer or now_s + max(edge_s, overdue_s) >= answered_s:
            return Played(now_s, choice, answered_s - now_s, is_hedged=False)
        here_s = now_s + max(edge_s, overdue_s) + choice.rest_s * self._world.setting.slow_edge
        return Played(now_s, choice, min(answered_s, here_s) - now_s, is_hedged=True)

    def _expect(self, at_s: float, answer: Answer) -> None:
        heapq.heappush(self._coming, (at_s, next(self._order), answer))

    def _on_its_way(self) -> Iterator[Answer]:
        return (answer for _, _, answer in self._coming if answer.link_s is not None)

    def _catch_up(self, now_s: float) -> None:
        """What came until now, and the probes that were sent while nothing was on its way."""
        while True:
            probe_s, wire_bytes = self._next_probe() if not any(self._on_its_way()) else (math.inf, 0.0)
            answer_s = self._coming[0][0] if self._coming else math.inf
            if min(probe_s, answer_s) > now_s:
                return
            if probe_s < answer_s:
                self._probe(probe_s, wire_bytes)
            else:
                _, _, answer = heapq.heappop(self._coming)
                self._quiet_s = answer_s if answer.link_s is not None else self._quiet_s
                self._policy.learn(answer_s, answer)

    def _next_probe(self) -> tuple[float, float]:
        """When, and how large."""
        probing = self._policy.probing
        if probing is None:
            return math.inf, 0.0
        small_s = max(self._small_s + probing.small_every_s, self._quiet_s)
        large_s = max(self._sent_s + probing.large_every_s, self._quiet_s)
        return (small_s, probing.small_bytes) if small_s <= large_s else (large_s, probing.large_bytes)

    def _probe(self, now_s: float, wire_bytes: float) -> None:
        rtt_s, loss = self._world.rtt_s(now_s), self._world.conditions(now_s).loss
        bits = wire_bytes * 8
        arrived_s = self._world.trace.arrival_s(max(now_s, self._link_free_s), bits / (1 - loss))
        if self._policy.probing and wire_bytes == self._policy.probing.small_bytes:
            self._small_s = now_s
        else:
            self._sent_s = now_s
        self._link_free_s = arrived_s
        self._expect(arrived_s + rtt_s, Answer(None, now_s, bits, 0.0, arrived_s + rtt_s - now_s))
        self.probe_bytes += wire_bytes


def _waiting(answer: Answer) -> Waiting:
    return Waiting(answer.sent_s, answer.bits, answer.choice.cloud_s if answer.choice else 0.0)


def play(world: World, policy: Policy) -> Run:
    """The policy's frames from the beginning of the trace to its end, or for the setting's duration."""
    device = _Device(world, policy)
    frames = _frames(world, device.frame)
    return Run(frames, _bytes(frames), device.probe_bytes, hedged=sum(frame.is_hedged for frame in frames))


def oracle(world: World, choices: Sequence[Choice]) -> Run:
    """Knows the trace, and changes the cut for nothing."""

    def best(now_s: float, luck: float) -> Played:
        latency_s, place = min((world.latency_s(each, now_s, luck), at) for at, each in enumerate(choices))
        return Played(now_s, choices[place], latency_s, is_hedged=False)

    frames = _frames(world, best)
    return Run(frames, _bytes(frames))


def _bytes(frames: Sequence[Played]) -> float:
    return math.fsum(frame.choice.wire_bytes for frame in frames)


def _frames(world: World, played_at: Callable[[float, float], Played]) -> list[Played]:
    """One after the other, each at the first tick of the camera that finds the device free."""
    fps = world.setting.fps
    end_s = world.setting.duration_s or world.trace.duration_s
    found, tick = [], 0
    while tick / fps < end_s:
        found.append(played_at(tick / fps, world.luck(tick)))
        tick += found[-1].ticks(fps)
    return found
