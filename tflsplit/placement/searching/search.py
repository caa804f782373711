"""The joint search: which machines, in which layout, for which run of operators, by label setting over the network.

Places are where one tensor crosses. From place to place a run is fused or staged, and leaves its result in one of the
layouts; what a run costs depends on how its input lies, and on nothing before. So the fewest costs to each layout of
each place follow from those of the places before. Stages that exchange nothing between them are one, so a label keeps
what each machine has computed since the last exchange. With bounds on memory, and for objectives that are a maximum
over machines, labels that are worse in one thing and better in another are kept, the best few.
"""

import enum
import itertools
import math
from collections.abc import Sequence

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array
from tflsplit.placement import cost, placement
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import blocks, joining, labels, layouts, runs
from tflsplit.placement.searching.blocks import Manner
from tflsplit.placement.searching.labels import Labels
from tflsplit.placement.searching.layouts import Layout
from tflsplit.placement.searching.runs import Entered, Held, Run
from tflsplit.values.classes import dataclass, fields, replace

# Labels kept for each layout of each place, and the most places that one fused run reaches over.
_KEPT = 24
_LONGEST = 6


class Objective(enum.Enum):
    LATENCY = "latency"
    THROUGHPUT = "throughput"
    BYTES = "bytes"
    MEMORY = "memory"
    ENERGY = "energy"


class Paths(enum.Enum):
    """Which ways through the network are looked at: all, those on which each machine has its turn once, or those on
    which no run is one machine's."""

    ALL = "all"
    IN_TURN = "in turn"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Found:
    """The placement, and one of the same layouts that exchanges after each operator instead of computing overlaps."""

    placement: Placement
    unfused: Placement


@dataclass(frozen=True, slots=True)
class _Taken:
    start: int
    stop: int
    layout: Layout
    manner: Manner


@dataclass(frozen=True, slots=True)
class _Labels(Labels):
    """The costs of ways to get to a place: seconds until the last exchange was over (L,), and by machine (L, N) seconds
    of work since then and in all, bytes on the link and bytes of memory. A state is a layout and the manner of the run
    that led there."""

    exchanged_s: Array
    since_s: Array
    compute_s: Array
    sent: Array
    received: Array
    parameter_bytes: Array
    feature_bytes: Array

    def those(self, chosen: Array) -> "_Labels":
        return _Labels(*(getattr(self, each)[chosen] for each in _ARRAYS))

    @property
    def layouts(self) -> Array:
        laid_out: Array = self.states // len(_MANNERS)
        return laid_out

    @property
    def latency_s(self) -> Array:
        took_s: Array = self.exchanged_s + self.since_s.max(axis=1)
        return took_s

    @property
    def memory_bytes(self) -> Array:
        held: Array = self.parameter_bytes + self.feature_bytes
        return held


_MANNERS = tuple(Manner)
_ARRAYS = tuple(each.name for each in fields(_Labels))


def _joined(parts: Sequence[_Labels]) -> _Labels:
    return _Labels(*(np.concatenate([getattr(part, each) for part in parts]) for each in _ARRAYS))


def search(
    network: Network,
    cluster: Cluster,
    objective: Objective = Objective.LATENCY,
    *,
    choices: Sequence[Layout] | None = None,
    with_sums: bool = True,
    paths: Paths = Paths.ALL,
) -> Found:
    """The best one found, without sums of input channels where these would not be exact. SettingsError where the
    machines' memory allows none, with what is missing."""
    always = {cluster.source, cluster.sink}
    chosen = tuple(choices or layouts.every(cluster.machines, always, _maps(network)))
    made = _Search(network, cluster, objective, chosen, with_sums=with_sums, paths=paths)
    runs_taken = made.best()
    if objective is Objective.THROUGHPUT and paths is Paths.ALL and choices is None and len(cluster.machines) > 1:
        # Of the ways that use a machine again and again the search keeps few; of pipelines it misses none.
        turns = tuple(layouts.in_turn(cluster.machines))
        piped = _Search(network, cluster, objective, turns, with_sums=with_sums, paths=Paths.IN_TURN)
        runs_taken, made = min((runs_taken, made), (piped.best(), piped), key=lambda pair: pair[1].score)
    if not runs_taken:
        raise errors.SettingsError(made.too_small())
    unfused = [each if each.manner is Manner.SUMS else replace(each, manner=Manner.EACH) for each in runs_taken]
    return Found(made.placed(runs_taken), made.placed(unfused))


def places(network: Network) -> list[int]:
    """Where one tensor crosses, the start and the end besides."""
    count = network.count
    return [0, *(place for place in range(1, count) if len(network.crossing[place]) == 1), count]


def _maps(network: Network) -> list[tuple[int, int]]:
    """Rows and columns of what crosses, in order and each once."""
    shapes = [network.shapes[tensor] for place in places(network)[1:] for tensor in network.crossing[place]]
    return list(dict.fromkeys((shape[1], shape[2]) for shape in shapes if len(shape) == 4 and shape[1] > 1))


class _Search:
    def __init__(
        self,
        network: Network,
        cluster: Cluster,
        objective: Objective,
        choices: tuple[Layout, ...],
        *,
        with_sums: bool,
        paths: Paths,
    ) -> None:
        self.score = math.inf
        self._paths = paths
        self._barred = () if with_sums else (Manner.SUMS,)
        self._network, self._cluster, self._machines = network, cluster, cluster.machines
        self._objective, self._choices = objective, choices
        self._places = places(network)
        self._limits = np.array([machine.memory_bytes for machine in cluster.machines])
        self._power_w = np.array([machine.power_w for machine in cluster.machines])
        self._piece_s = np.array([machine.overhead_s for machine in cluster.machines])
        self._rest_s = runs.rest_s(network, self._places, cluster.machines)
        self._runs: dict[object, tuple[Run, Entered]] = {}
        self._staged: dict[object, tuple[Manner, ...]] = {}
        self._alike: dict[tuple[int, int], object] = {}
        self._held: dict[tuple[int, ...], Held] = {}

    def best(self) -> list[_Taken]:
        """The runs of the best way through; none where the machines' memory allows none."""
        start = Layout(((self._cluster.source,),))  # the first layout is that of the inputs
        self._choices = (start, *(each for each in self._choices if each != start))
        if self._paths is Paths.IN_TURN:
            self._follows = np.array([[one.may_precede(other) for other in self._choices] for one in self._choices])
            self._follows[0] = True  # the source sends the inputs to whoever is first
        none, nothing = np.zeros(1, int), np.zeros((1, len(self._machines)))
        begin = _Labels(none, none, none, np.zeros(1), *(nothing,) * 6)
        found = labels.best(begin, self._into, len(self._places), lambda ends: self._scores(self._gathered(ends)))
        if not found:
            return []
        ((self.score, way),) = found
        return [self._taken(start, stop, state) for (start, _), (stop, state) in itertools.pairwise(way)]

    def _taken(self, start: int, stop: int, state: int) -> _Taken:
        layout, manner = divmod(state, len(_MANNERS))
        return _Taken(self._places[start], self._places[stop], self._choices[layout], _MANNERS[manner])

    def _into(self, at: Sequence[_Labels], place: int) -> _Labels:
        kept = [self._laid(at, place, layout) for layout in range(len(self._choices))]
        return _joined([each for each in kept if each is not None] or [at[0].those(np.zeros(0, int))])

    def too_small(self) -> str:
        """What the placement that fills the fullest machine least would need."""
        unbounded = tuple(replace(each, memory_bytes=math.inf) for each in self._machines)
        wide = replace(self._cluster, machines=unbounded)
        least = _Search(
            self._network, wide, Objective.MEMORY, self._choices, with_sums=not self._barred, paths=self._paths
        )
        held = cost.of(placement.schedule(self._network, least.placed(least.best())), wide).memory_bytes
        excess, name = max(
            (taken - each.memory_bytes, each.name) for taken, each in zip(held, self._machines, strict=True)
        )
        more = f"{excess / 2**20:.2f} MiB more of {name}"
        return f"no placement fits the machines' memory; the one that fills them least needs {more}"

    def placed(self, path: Sequence[_Taken]) -> Placement:
        stages = tuple(stage for taken in path for stage in self._stages(taken))
        placed = Placement(len(self._machines), stages, self._cluster.source, self._cluster.sink)
        return joining.joined(self._network, placed)

    def _stages(self, taken: _Taken) -> tuple[Stage, ...]:
        return blocks.stages(self._network, taken.start, taken.stop, taken.layout, self._machines, manner=taken.manner)

    def _laid(self, at: Sequence[_Labels], place: int, layout: int) -> _Labels | None:
        """Labels of a place, in this layout."""
        found: list[_Labels] = []
        if self._paths is Paths.SHARED and self._choices[layout].is_one:
            return None
        fused_s, best_s = 0.0, math.inf
        for start in range(place - 1, max(place - _LONGEST, 0) - 1, -1):
            if start < place - 1 and self._is_hopeless(at[start], start, layout, fused_s, best_s):
                continue
            for manner in self._manners(start, place, layout):
                state = layout * len(_MANNERS) + _MANNERS.index(manner)
                made, entering = self._run(self._taken(start, place, state))
                found.append(self._after(at[start], made, entering, state, start))
                best_s = min(best_s, found[-1].latency_s.min(initial=math.inf))
                if manner is Manner.FUSED:
                    fused_s = made.compute_s.max(axis=1).sum() - self._piece_s.max() - self._work_s(start, layout)
        return self._best_few(_joined(found))

    def _is_hopeless(self, before: _Labels, place: int, layout: int, repeated_s: float, best_s: float) -> bool:
        """Whether a run from this place is of no use: from the best label on it would take longer than a shorter one,
        since what is computed more than once only grows with the run."""
        if self._objective is not Objective.LATENCY or np.isfinite(self._limits).any():
            return False
        least_s = before.latency_s.min(initial=math.inf) + self._work_s(place, layout) + repeated_s
        return bool(least_s >= best_s)

    def _work_s(self, place: int, layout: int) -> float:
        """What a layout's machines take together for all from this place on, if none ever waits."""
        rates = 1 / self._rest_s[place, list(self._choices[layout].machines)]
        return float(1 / rates.sum())

    def _manners(self, start: int, stop: int, layout: int) -> list[Manner]:
        """Of a run from place to place. Exchanges within are those between shorter runs, and so are sums, but for a
        dense layer's after a map is flattened."""
        ends, over = (self._places[start], self._places[stop]), stop - start
        key = (self._likeness(*ends), layout)
        if key not in self._staged:
            self._staged[key] = blocks.manners(self._network, *ends, self._choices[layout], self._machines)
        barred = {*self._barred, *((Manner.EACH,) if over > 1 else ()), *((Manner.SUMS,) if over > 2 else ())}
        return [manner for manner in self._staged[key] if manner not in barred]

    def _after(self, at: _Labels, made: Run, entering: Entered, state: int, start: int) -> _Labels:
        numbers = np.arange(len(at.states))
        if self._paths is Paths.IN_TURN:
            numbers = numbers[self._follows[at.layouts, state // len(_MANNERS)]]
            at = at.those(numbers)
        before = at.layouts
        exchanged_s, since_s, compute_s = at.exchanged_s, at.since_s, at.compute_s
        for stage, (took_s, adds) in enumerate(zip(made.compute_s, made.adds, strict=True)):
            exchange_s = entering.exchange_s[before, stage]
            apart = (exchange_s > 0) | adds
            exchanged_s = exchanged_s + np.where(apart, since_s.max(axis=1) + exchange_s, 0.0)
            since_s = np.where(apart[:, None], 0.0, since_s)
            # A piece that goes on is no piece more.
            more_s = took_s - np.where((since_s > 0) & (took_s > 0), self._piece_s, 0.0)
            since_s, compute_s = since_s + more_s, compute_s + more_s
            if adds:
                exchanged_s, since_s = exchanged_s + since_s.max(axis=1), np.zeros_like(since_s)
        return _Labels(
            np.full(len(numbers), state),
            np.full(len(numbers), start),
            numbers,
            exchanged_s,
            since_s,
            compute_s,
            at.sent + entering.sent[before],
            at.received + entering.received[before],
            at.parameter_bytes + made.parameter_bytes,
            np.maximum(at.feature_bytes, made.feature_bytes),
        )

    def _run(self, taken: _Taken) -> tuple[Run, Entered]:
        """The run, and what it costs to enter it from each layout."""
        key = (self._likeness(taken.start, taken.stop), taken.layout, taken.manner)
        if key not in self._runs:
            made = runs.run(self._network, taken.start, taken.stop, taken.layout, self._machines, manner=taken.manner)
            inputs = [self._laid_out(tensor) for tensor in self._network.crossing[taken.start]]
            self._runs[key] = made, runs.entered(made, inputs, self._cluster)
        return self._runs[key]

    def _likeness(self, start: int, stop: int) -> object:
        if (start, stop) not in self._alike:
            self._alike[start, stop] = runs.likeness(self._network, start, stop)
        return self._alike[start, stop]

    def _laid_out(self, tensor: int) -> Held:
        """How a tensor lies, in each of the layouts."""
        shape = self._network.shapes[tensor]
        if shape not in self._held:
            self._held[shape] = runs.held([each.parts(shape, self._machines) for each in self._choices])
        return self._held[shape]

    def _scores(self, found: _Labels) -> Array:
        """Lower is better; what takes as much is told apart by its latency."""
        if self._objective is Objective.LATENCY:
            return found.latency_s
        if self._objective is Objective.BYTES:
            cost = found.sent.sum(axis=1)
        elif self._objective is Objective.MEMORY:
            cost = found.memory_bytes.max(axis=1)
        elif self._objective is Objective.ENERGY:
            cost = found.compute_s @ self._power_w
        else:
            cost = np.maximum(found.compute_s.max(axis=1), self._cluster.busy_s(found.sent, found.received))
        scores: Array = cost + found.latency_s * 1e-6
        return scores

    def _best_few(self, found: _Labels) -> _Labels | None:
        """Those that fit, without the ones that another is no worse than in score and in the fullest memory. Of too
        many some are taken from all along the front: later runs may need the room that only its far end has."""
        full = (found.memory_bytes / self._limits).max(axis=1)
        scores = self._scores(found)
        front: list[int] = []
        least = math.inf
        for each in np.lexsort((full, scores)):
            if full[each] <= 1.0 and full[each] < least:
                front.append(int(each))
                least = full[each]
            if least == 0.0:
                break
        if not front:
            return None
        places = np.linspace(0, len(front) - 1, min(_KEPT, len(front))).round().astype(int)
        return found.those(np.array(front)[places])

    def _gathered(self, ends: _Labels) -> _Labels:
        for tensor in self._network.graph.outputs:
            shape, size = self._network.shapes[tensor], self._network.item_bytes[tensor]
            bring = runs.gathered(shape, size, self._laid_out(tensor), self._cluster)
            ends = replace(
                ends,
                exchanged_s=ends.exchanged_s + bring.exchange_s[ends.layouts, 0],
                sent=ends.sent + bring.sent[ends.layouts],
                received=ends.received + bring.received[ends.layouts],
            )
        return ends
