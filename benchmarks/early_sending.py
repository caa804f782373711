"""What it would gain to send rows of a boundary while the head computes the next ones.

A head becomes row pieces, as `tflsplit distribute` makes them for several machines, run here one after the other:
operators up to some place whole, the rest in two to four pieces, whose rows leave while the next piece is computed.
Rows of a deep network overlap, so pieces compute some of it twice. Which place and how many pieces are best is searched
over all by multiply-accumulates, and the most promising are run: their rows have to be the head's, bit for bit, and
their times are measured beside the head's, in turn, in processor time. The device is this processor, slowed until the
whole model takes 100 ms as on a small board, and each further message takes it the 0.21 ms that `paho_paths` measures,
slowed as well. The link has 5 Mbit/s and 20 ms of round trip, and sends one piece after the other. The way from these
times to a frame's latency is computed: the head, its bytes and the tail, against the pieces and theirs.

Cuts are those with fewer bytes than each one before: the one that is quickest over that link, and each other where
sending takes more than a tenth of the head. Bound: what is gained if rows did not overlap, messages took no time, and
only the last piece was sent behind the head.
"""

import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import models
import numpy as np
from harness import Outcome, Samples, Table

from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Piece

TARGET = 0.9
WHOLE_S, BPS, RTT_S = 0.100, 5e6, 0.020
COUNTS = (2, 3, 4)
_RUNS = 15
_PROMISING = 6
_MESSAGE_S = 0.00021
# What each packet takes beside the rows: a chunk's header, a PUBLISH with a topic of 30 characters, TCP and IP.
_PACKET_BYTES = 34 + 40 + 52


@dataclass(frozen=True)
class Way:
    """Operators before `start` at once, the rest in so many pieces; `latency_s` is up to the last byte."""

    start: int
    made: tuple[Piece, ...]
    latency_s: float


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    found: list[Outcome | Table] = []
    rows = []
    for name, opened in models.both(folder).items():
        judged = _Judged(opened, 3 if is_quick else _RUNS)
        best = min(judged.cuts, key=judged.latency_s)
        told = {}
        for cut in judged.cuts:
            if cut is best or judged.sending_s(cut) > judged.head_s[cut.id] / 10:
                told[cut.id] = judged.early(cut)
                rows.append((name, cut.id, *told[cut.id].shown))
        usual_s = judged.latency_s(best)
        quickest = min(told, key=lambda cut_id: told[cut_id].latency_s)
        found.append(_outcome(f"{name} at {best.id}, the quickest cut", told[best.id].latency_s, usual_s))
        found.append(_outcome(f"{name} at {quickest}, the quickest with early rows", told[quickest].latency_s, usual_s))
    columns = ("model", "cut", "head ms", "sending ms", "latency ms", "whole up to", "pieces", "work", "early ms")
    title = "each cut where sending takes longer than a tenth of the head"
    return [*found, Table(title, (*columns, "gain", "bound"), tuple(rows))]


def _outcome(what: str, early_s: float, usual_s: float) -> Outcome:
    return Outcome(
        f"latency over 5 Mbit/s, {what}",
        Samples("rows sent early", "s", (early_s,)),
        Samples("the quickest cut, sent at once", "s", (usual_s,)),
        TARGET,
    )


@dataclass(frozen=True)
class Early:
    """A frame's latency with early rows at a cut, and its row of the table."""

    latency_s: float
    shown: tuple[str, ...]


class _Judged:
    """A model's cuts that no earlier one beats in bytes, their heads' and tails' times, and what early rows give."""

    def __init__(self, opened: Package, runs: int) -> None:
        self._opened, self._runs = opened, runs
        self._network = Network(opened.graph)
        self._input = verify.random_samples(opened.manifest.inputs, 1)[0]
        self.cuts = _narrowing(opened)
        models_of = [opened.model_bytes(), *(opened.head_bytes(cut) for cut in self.cuts)]
        whole_s, *heads_s = _each_s([(data, self._input) for data in models_of], runs)
        self._slower = WHOLE_S / whole_s
        self.head_s = {cut.id: taken * self._slower for cut, taken in zip(self.cuts, heads_s, strict=True)}
        self._tail_s = {cut.id: max(0.0, whole_s - taken) for cut, taken in zip(self.cuts, heads_s, strict=True)}

    def sending_s(self, cut: Cut) -> float:
        return _sending_s([cut.payload_bytes])

    def latency_s(self, cut: Cut) -> float:
        return self.head_s[cut.id] + self.sending_s(cut) + RTT_S + self._tail_s[cut.id]

    def early(self, cut: Cut) -> Early:
        (tensor,) = self._network.crossing[cut.position]
        with Interpreter(self._opened.head_bytes(cut)) as head:
            (boundary,) = head.run(*self._input)
        measured = [(*self._measured(cut, way, tensor, boundary), way) for way in self._promising(cut, tensor)]
        early_s, work, way = min(measured, key=lambda each: each[0])
        usual_s = self.head_s[cut.id] + self.sending_s(cut)
        rest_s = RTT_S + self._tail_s[cut.id]
        bound_s = self.head_s[cut.id] + _sending_s([cut.payload_bytes // len(way.made)])
        shown = (self.head_s[cut.id], self.sending_s(cut), usual_s + rest_s)
        figures = [f"{1e3 * each:.1f}" for each in shown]
        figures += [f"op{way.start:03d}", str(len(way.made)), f"{work:.2f}", f"{1e3 * (early_s + rest_s):.1f}"]
        gains = (1 - (early_s + rest_s) / (usual_s + rest_s), 1 - (bound_s + rest_s) / self.latency_s(cut))
        return Early(early_s + rest_s, (*figures, *(f"{gain:+.1%}" for gain in gains)))

    def _promising(self, cut: Cut, tensor: int) -> list[Way]:
        """The best by multiply-accumulates, which times go by only roughly."""
        whole = pieces.piece(self._network, 0, cut.position, {tensor: self._network.wholes[tensor]})
        second_s = self.head_s[cut.id] / whole.macs
        height = self._network.shapes[tensor][1]
        ways = []
        for start in range(cut.position):
            if len(self._network.crossing[start]) > 1:
                continue
            before = self._before(start)
            for count in COUNTS:
                if count > height:
                    continue
                made = tuple(
                    pieces.piece(self._network, start, cut.position, {tensor: box})
                    for box in _rows(self._network, tensor, count)
                )
                times_s = [before.macs * second_s, *(each.macs * second_s for each in made)]
                ways.append(
                    Way(
                        start, made, _arrival_s(times_s, _bytes(self._network, tensor, made), _MESSAGE_S * self._slower)
                    )
                )
        return sorted(ways, key=lambda way: way.latency_s)[:_PROMISING]

    def _before(self, start: int) -> Piece:
        crossing = self._network.crossing[start]
        return pieces.piece(self._network, 0, start, {each: self._network.wholes[each] for each in crossing})

    def _measured(self, cut: Cut, way: Way, tensor: int, boundary: Array) -> tuple[float, float]:
        """Arrival of the last byte, and the pieces' work over the head's."""
        network = self._network
        prefix = [pieces.model(network, self._before(way.start))] if way.start else []
        parts = [pieces.model(network, each) for each in way.made]
        given = self._input
        if prefix:
            with Interpreter(prefix[0]) as opened:
                given = opened.run(*self._input)
        cropped = []
        for part, each in zip(parts, way.made, strict=True):
            ((_, needed),) = each.inputs.items()
            cropped.append(given[0][tuple(slice(*interval) for interval in needed)])
            with Interpreter(part) as opened:
                (made,) = opened.run(cropped[-1])
            ((_, box),) = each.outputs.items()
            if not np.array_equal(made, boundary[tuple(slice(*interval) for interval in box)]):
                raise SystemExit(f"rows {box[1]} of {cut.id} are not the head's")
        turns = [(self._opened.head_bytes(cut), self._input), *((data, self._input) for data in prefix)]
        turns += [(data, (rows,)) for data, rows in zip(parts, cropped, strict=True)]
        head_s, *times_s = _each_s(turns, self._runs)
        slower = self.head_s[cut.id] / head_s
        scaled = [0.0] * (not prefix) + [each * slower for each in times_s]
        arrival_s = _arrival_s(scaled, _bytes(network, tensor, way.made), _MESSAGE_S * self._slower)
        return arrival_s, sum(times_s) / head_s


def _narrowing(opened: Package) -> list[Cut]:
    """Cuts of one picture-like tensor with fewer bytes than each before them."""
    found: list[Cut] = []
    for cut in opened.cuts[1:-1]:
        least = found[-1].payload_bytes if found else cut.payload_bytes + 1
        shape = cut.boundary[0].shape if len(cut.boundary) == 1 else ()
        if len(shape) == 4 and shape[1] > 1 and cut.head.macs and cut.payload_bytes < least:
            found.append(cut)
    return found


def _rows(network: Network, tensor: int, count: int) -> list[tuple[tuple[int, int], ...]]:
    """Even parts of the tensor, by rows."""
    whole = network.wholes[tensor]
    height = network.shapes[tensor][1]
    ends = [height * place // count for place in range(count + 1)]
    return [(whole[0], rows, *whole[2:]) for rows in itertools.pairwise(ends)]


def _bytes(network: Network, tensor: int, made: Sequence[Piece]) -> list[int]:
    return [
        network.item_bytes[tensor] * int(np.prod([stop - start for start, stop in each.outputs[tensor]]))
        for each in made
    ]


def _arrival_s(times_s: Sequence[float], sizes: Sequence[int], message_s: float) -> float:
    """When the last of the pieces is through the link; the first of `times_s` is of what comes before them. Each piece
    but the last costs the device a message more than the whole boundary does."""
    computed_s, sent_s = times_s[0] - message_s, 0.0
    for taken_s, size in zip(times_s[1:], sizes, strict=True):
        computed_s += taken_s + message_s
        sent_s = max(sent_s, computed_s) + _sending_s([size])
    return sent_s


def _sending_s(sizes: Sequence[int]) -> float:
    return sum(size + _PACKET_BYTES for size in sizes) * 8 / BPS


def _each_s(turns: Sequence[tuple[bytes, tuple[Array, ...]]], runs: int) -> list[float]:
    """The least processor time of each of the models on its input, in turn: what else runs here only adds to it."""
    with contextlib.ExitStack() as stack:
        opened = [(stack.enter_context(Interpreter(data)), given) for data, given in turns]
        taken: list[list[float]] = [[] for _ in opened]
        for _ in range(runs + 1):  # the first packs weights
            for times, (model, given) in zip(taken, opened, strict=True):
                began_s = time.thread_time()
                model.run(*given)
                times.append(time.thread_time() - began_s)
    return [min(times[1:]) for times in taken]
