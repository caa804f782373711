"""Cuts and profiles with invented sizes and times, so that a plan's answers are exact."""

from collections.abc import Sequence

from tflsplit.graph.cuts import Cut, Side, cut_id
from tflsplit.graph.tensors import TensorSpec
from tflsplit.timings.profiles import CutTiming, Profile, Timing
from tflsplit.timings.profiles import Side as Where


def steady(milliseconds: float) -> Timing:
    return Timing((milliseconds / 1e3,) * 5)


def cuts(sizes: Sequence[int], weights: Sequence[int] | None = None) -> tuple[Cut, ...]:
    """A model with one operator between two cuts; the sizes are payload bytes from the input to the output."""
    count = len(sizes) - 1
    parameters = weights or [0] * count
    return tuple(
        Cut(
            id=cut_id(position, count),
            position=position,
            boundary=(TensorSpec(f"t{position}", (1, size), "int8", 1.0),),
            tensors=(position,),
            head=Side(position, position * 1000, sum(parameters[:position])),
            tail=Side(count - position, (count - position) * 1000, sum(parameters[position:])),
            is_useful=False,
            layer=f"layer{position}" if 0 < position < count else None,
        )
        for position, size in enumerate(sizes)
    )


def edge(found: Sequence[Cut], milliseconds: Sequence[float], *, preprocess: float | None = None) -> Profile:
    """Heads that take these times, the input's first."""
    return _profile(Where.EDGE, found, milliseconds, preprocess)


def cloud(found: Sequence[Cut], milliseconds: Sequence[float]) -> Profile:
    """Tails that take these times, the input's (the whole model) first."""
    return _profile(Where.CLOUD, found, milliseconds, None)


def _profile(side: Where, found: Sequence[Cut], milliseconds: Sequence[float], preprocess: float | None) -> Profile:
    timed = tuple(
        CutTiming(cut.id, steady(time), steady(0.0), None, load_s=0.5, memory_bytes=1000 * (cut.position + 1))
        for cut, time in zip(found, milliseconds, strict=True)
    )
    shown = None if preprocess is None else steady(preprocess)
    return Profile("d" * 64, f"the {side.value}", side, "cpu", {}, timed, shown)
