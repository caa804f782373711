"""The rules against what Google's compiler did: public files beside what it made of them.

Behind the operators of the Edge TPU, which are one in a compiled file, it lists what runs on the CPU.
"""

import math
import pathlib

import numpy as np
import pytest

from converters.edgetpu import rules
from tflsplit.graph import cuts, flatgraph

ENDING = "_edgetpu.tflite"
# Seen to map in a pair that is not in the folder of public models.
SEEN_ELSEWHERE = {"TILE"}


def pairs(folder: pathlib.Path):
    """Every original in the folder that has a compiled twin, with it."""
    for compiled in sorted(folder.rglob(f"*{ENDING}")):
        original = compiled.with_name(compiled.name.replace(ENDING, ".tflite"))
        if original.is_file():
            yield flatgraph.read(original.read_bytes()), flatgraph.read(compiled.read_bytes())


def work(graph, operator):
    """An operator without its tensors' names, which the compiler changes."""
    return operator.name, tuple(
        graph.tensors[index].shape for index in (*operator.inputs, *operator.outputs) if index >= 0
    )


@pytest.fixture
def found(shared_data):
    found = list(pairs(shared_data))
    assert len(found) >= 2
    return found


def test_what_google_left_to_the_cpu_is_what_is_judged_not_to_run_on_the_edge_tpu(found):
    for graph, compiled in found:
        cut = rules.tpu_cut(rules.judge(graph), cuts.enumerate_cuts(graph))
        left = [operator for operator in compiled.operators if operator.name != rules.COMPILED]

        assert [work(graph, operator) for operator in graph.operators[cut.position :]] == [
            work(compiled, operator) for operator in left
        ]


def test_confirmed_is_what_a_pair_shows_to_map(found):
    shown = set()
    for graph, compiled in found:
        left = len(compiled.operators) - 1
        shown |= {operator.name for operator in graph.operators[: len(graph.operators) - left]}

    assert shown | SEEN_ELSEWHERE == rules.CONFIRMED


def test_resizing_one_pixel_is_confirmed_not_to_map(found):
    ends = [rules.first_unmapped(rules.judge(graph)) for graph, _ in found]

    assert [(end.op, end.is_confirmed) for end in ends if end is not None] == [("RESIZE_BILINEAR", True)]


@pytest.mark.parametrize(("side", "maps"), [(64, True), (512, False)])
def test_a_large_transposition_does_not_map(builder, side, maps):
    shape = (1, side, side, 4)
    x, y = builder.tensor("x", shape), builder.tensor("y", (1, side, 4, side))
    order = builder.tensor("order", (4,), data=np.array([0, 1, 3, 2], np.int32), scale=None, kind="INT32")
    builder.operator("TRANSPOSE", (x, order), (y,))
    (verdict,) = rules.judge(flatgraph.read(builder.build((x,), (y,))))

    assert verdict.maps == maps
    assert not verdict.is_confirmed  # nobody knows where the limit lies
    assert maps or f"{math.prod(shape):,} elements" in verdict.reason


def test_the_document_names_what_is_confirmed(pytestconfig):
    text = (pytestconfig.rootpath / "docs" / "coral.md").read_text("utf-8")

    assert f"confirmed to map are {', '.join(sorted(rules.CONFIRMED))}" in " ".join(text.split())
