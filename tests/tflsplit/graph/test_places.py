import dataclasses
import json

import invented
import pytest

from tflsplit.graph import places
from tflsplit.graph.tensors import TensorSpec

SPECS = {index: TensorSpec(f"t{index}", (1, index + 1), "int8", 0.5) for index in range(12)}


def cuts_with(*boundaries):
    """Invented cuts with these tensors on their boundaries."""
    made = invented.cuts([1] * len(boundaries))
    return tuple(
        dataclasses.replace(cut, tensors=tensors, boundary=tuple(SPECS[index] for index in tensors))
        for cut, tensors in zip(made, boundaries, strict=True)
    )


@pytest.mark.parametrize(
    "boundaries",
    [
        ((0,), (1,), (2,)),
        ((0, 1, 2), (1, 2, 3), (2, 3, 4, 5), (5,)),
        ((1, 0), (0, 1, 2), (2, 1)),
        ((0,), (0, 0), (0,)),
        ((3,), (), (4,)),
    ],
    ids=["a chain", "a window", "another order", "an output twice", "nothing crosses"],
)
def test_cuts_survive_being_kept(boundaries):
    cuts = cuts_with(*boundaries)
    kept = json.loads(json.dumps(places.as_json(cuts)))

    assert places.from_json(kept, places.tensors(cuts)) == cuts


def test_only_what_changes_is_kept():
    kept = places.as_json(cuts_with((0, 1, 2), (1, 2, 3), (1, 2, 3)))

    assert [(entry["gone"], entry["new"]) for entry in kept] == [([], [0, 1, 2]), ([0], [3]), ([], [])]


def test_boundaries_that_would_fill_memory_are_refused(monkeypatch):
    kept = places.as_json(cuts_with((0, 1), (0, 1), (0, 1)))
    monkeypatch.setattr(places, "MOST_CROSSINGS", 5)

    with pytest.raises(ValueError, match="more than 5 tensors on their boundaries"):
        places.from_json(kept, SPECS)
