"""Cuts as a manifest keeps them: of each boundary only what changed since the cut before.

An unrolled recurrent layer has a thousand cuts with a hundred tensors each, most of them the same from one to the next.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tflsplit.graph.cuts import Cut, Side
from tflsplit.graph.tensors import TensorSpec
from tflsplit.values.classes import asdict

# Tensors on all boundaries together: a small file could state any number. Two unrolled LSTMs of 100 steps have 600,000.
MOST_CROSSINGS = 1 << 24


def as_json(cuts: Sequence[Cut]) -> list[dict[str, object]]:
    """In their order. A boundary is that before without `gone`, then `new`: indices of tensors in model.tflite."""
    return [
        {
            "id": cut.id,
            "layer": cut.layer,
            "after_operator": cut.after_operator,
            "useful": cut.is_useful,
            "gone": gone,
            "new": new,
            "head_side": asdict(cut.head),
            "tail_side": asdict(cut.tail),
        }
        for cut, (gone, new) in zip(cuts, _changes(cut.tensors for cut in cuts), strict=True)
    ]


def from_json(entries: Iterable[Mapping[str, Any]], tensors: Mapping[int, TensorSpec]) -> tuple[Cut, ...]:
    """`tensors` has each that may lie on a boundary. KeyError, ValueError or TypeError for damaged entries."""
    found: list[Cut] = []
    indices: tuple[int, ...] = ()
    crossings = 0
    for entry in entries:
        gone = set(entry["gone"])
        indices = (*(index for index in indices if index not in gone), *map(int, entry["new"]))
        crossings += len(indices)
        if crossings > MOST_CROSSINGS:
            raise ValueError(f"its cuts have more than {MOST_CROSSINGS:,} tensors on their boundaries")
        if entry["layer"] is not None and not isinstance(entry["layer"], str):
            raise TypeError(f"the layer of {entry['id']!r} is no text")
        found.append(
            Cut(
                id=str(entry["id"]),
                position=int(entry["after_operator"]) + 1,
                boundary=tuple(tensors[index] for index in indices),
                tensors=indices,
                head=_side(entry["head_side"]),
                tail=_side(entry["tail_side"]),
                is_useful=bool(entry["useful"]),
                layer=entry["layer"],
            )
        )
    return tuple(found)


def tensors(cuts: Iterable[Cut]) -> dict[int, TensorSpec]:
    """Each boundary tensor once, by its index."""
    found: dict[int, TensorSpec] = {}
    for cut in cuts:
        if not found.keys() >= set(cut.tensors):
            found.update(zip(cut.tensors, cut.boundary, strict=True))
    return dict(sorted(found.items()))


def _changes(boundaries: Iterable[tuple[int, ...]]) -> Iterator[tuple[list[int], list[int]]]:
    before: tuple[int, ...] = ()
    for boundary in boundaries:
        still = set(boundary)
        kept = [index for index in before if index in still]
        if tuple(kept) != boundary[: len(kept)]:  # the order is another, as at the model's outputs
            kept = []
        remains = set(kept)
        yield [index for index in before if index not in remains], list(boundary[len(kept) :])
        before = boundary


def _side(fields: Mapping[str, Any]) -> Side:
    return Side(**{key: int(value) for key, value in fields.items()})
