import numpy as np
import probe_pieces
import pytest

from tflsplit.graph import flatgraph, kinds, ties

SCALES = {
    "ties at every other product": ((0.125, 0.25, 2.0), True),
    "no product near the middle": ((0.0317, 0.0551, 0.0833), False),
}


@pytest.mark.parametrize(("scales", "is_tied"), SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_product_is_looked_at_for_what_lies_between_two_integers(dtype, scales, is_tied):
    graph = flatgraph.read(probe_pieces.pairwise("MUL", dtype, scales))

    assert ties.has_ties(graph, graph.operators[0]) is is_tied
    assert kinds.each(graph) == (f"MUL/{dtype}:ties" if is_tied else f"MUL/{dtype}",)


def test_products_that_float32_takes_for_ties_count(builder):
    """Those of a MUL in an EfficientNet, which gives another integer on Arm than on x86 for 6 of 65,536 products."""
    x = builder.tensor("x", (1, 4), scale=0.017196455970406532, zero_point=-112)
    y = builder.tensor("y", (1, 4), scale=0.00390625, zero_point=-128)
    z = builder.tensor("z", (1, 4), scale=0.008548004552721977, zero_point=-103)
    builder.operator("MUL", (x, y), (z,), version=2)
    graph = flatgraph.read(builder.build((x, y), (z,)))

    assert ties.has_ties(graph, graph.operators[0])


def test_only_what_a_constant_holds_counts(builder):
    x = builder.tensor("x", (1, 4), scale=0.125)
    even, odd = (
        builder.tensor(name, (1,), scale=0.25, data=np.array([value], np.int8)) for name, value in (("e", 64), ("o", 1))
    )
    tied = builder.tensor("t", (1, 4), scale=0.0625)
    plain = builder.tensor("p", (1, 4), scale=0.0625)
    builder.operator("MUL", (x, odd), (tied,), version=2)
    builder.operator("MUL", (x, even), (plain,), version=2)
    graph = flatgraph.read(builder.build((x,), (tied, plain)))

    assert [ties.has_ties(graph, operator) for operator in graph.operators] == [True, False]


def test_floats_have_none(builder):
    x = builder.tensor("x", (1, 4), scale=None, kind="FLOAT32")
    y = builder.tensor("y", (1, 4), scale=None, kind="FLOAT32")
    builder.operator("MUL", (x, x), (y,))
    graph = flatgraph.read(builder.build((x,), (y,)))

    assert not ties.has_ties(graph, graph.operators[0])
