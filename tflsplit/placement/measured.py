"""A machine's measured speed: from a profile's timings of whole heads or tails to seconds of each operator.

What lies between two timed cuts is shared out by multiply-accumulates and elements. Operators that are alike take
alike, so their times are averaged: noise goes, and a search may cost a block once that a network repeats.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tflsplit import errors
from tflsplit.graph import cuts
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.kernels.classes import KernelClass
from tflsplit.package.reading import Package
from tflsplit.timings import prefixes, profiles
from tflsplit.timings.profiles import Profile
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """`macs_per_s` is the whole model's, `operator_s` by operator; `piece_s` is what each piece costs besides, None in
    profiles of before that was measured."""

    macs_per_s: float
    operator_s: tuple[float, ...]
    kernel_class: KernelClass | None = None
    piece_s: float | None = None


Reader = Callable[[Path], Measured]


def read(path: Path, package: Package) -> Measured:
    """From a file of `tflsplit profile`. DataError for one of another package, of an accelerator, or of few cuts."""
    profile = profiles.read(path)
    profiles.check_fits(profile, package.digest, profile.side, [cut.id for cut in package.cuts], path=path)
    if profile.accelerator.partition("?")[0] != "cpu":
        raise errors.DataError(f"{path}: measured on {profile.accelerator}, and shared models run on the CPU")
    return of(profile, package, name=str(path))


def of(profile: Profile, package: Package, *, name: str) -> Measured:
    """DataError where the profile does not time the whole model."""
    places = prefixes.timed(profile, package.cuts)
    if not prefixes.are_whole(places):
        raise errors.DataError(f"{name}: it does not time the whole model; profile all cuts")
    before_s, graph = prefixes.before_s(profile, places), package.graph
    seconds = [0.0] * len(graph.operators)
    for number, (start, stop) in enumerate(itertools.pairwise(places)):
        taken_s = max(0.0, before_s[number + 1] - before_s[number])
        part = graph.operators[start.position : stop.position]
        work = [_work(graph, operator) for operator in part]
        for operator, share in zip(part, work, strict=True):
            seconds[operator.index] = taken_s * share / (sum(work) or 1)
    even_s = _evened(graph, seconds)
    total_s = sum(even_s)
    if not total_s > 0:
        raise errors.DataError(f"{name}: the whole model takes no time; profile again")
    piece_s = None if profile.piece is None else profile.piece.p50_s
    return Measured(max(1, places[-1].head.macs) / total_s, even_s, profile.kernel_class, piece_s)


def _work(graph: Graph, operator: Operator) -> float:
    elements = sum(spec.elements for index in operator.outputs if (spec := graph.tensors[index].spec))
    return cuts.macs(graph, operator) + elements


def _evened(graph: Graph, seconds: list[float]) -> tuple[float, ...]:
    alike = defaultdict(list)
    keys = []
    for operator in graph.operators:
        tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        key = (operator.name, *((tensor.shape, tensor.type_name) for tensor in tensors))
        keys.append(key)
        alike[key].append(seconds[operator.index])
    return tuple(sum(alike[key]) / len(alike[key]) for key in keys)
