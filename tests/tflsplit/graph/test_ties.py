import numpy as np
import probe_pieces
import pytest

from tflsplit.graph import flatgraph, kinds, ties
from tflsplit.graph.interpreter import Interpreter

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


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_mean_is_looked_at_for_sums_that_float32_cannot_tell_from_the_middle(dtype):
    near = [flatgraph.read(piece) for piece in probe_pieces.pieces()[f"MEAN/{dtype}:ties"]]
    plain = flatgraph.read(probe_pieces.reduced("MEAN", dtype, (1, 2), (0.1, 0.1)))

    assert {kinds.each(graph) for graph in near} == {(f"MEAN/{dtype}:ties",)}
    assert kinds.each(plain) == (f"MEAN/{dtype}",)


def test_a_mean_of_so_many_that_some_sum_must_be_near_counts(builder):
    x = builder.tensor("x", (1, 256, 256, 1), scale=0.1)
    y = builder.tensor("y", (1, 1, 1, 1), scale=0.1)
    axes = builder.tensor("axes", (2,), scale=None, data=np.array([1, 2], np.int32), kind="INT32")
    builder.operator("MEAN", (x, axes), (y,), version=2)
    graph = flatgraph.read(builder.build((x,), (y,)))

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


# MULs with ties for operands of any value.
OF_YOLO = {"scale": 0.13309672474861145, "zero_point": 31}, {"scale": 0.051311422139406204, "zero_point": -123}
GATE = {"scale": 0.00390625, "zero_point": -128}


def swish(builder, *, of_another):
    x = builder.tensor("x", (1, 256), **OF_YOLO[0])
    y = builder.tensor("y", (1, 256), **OF_YOLO[0])
    gate = builder.tensor("gate", (1, 256), **GATE)
    made = builder.tensor("made", (1, 256), **OF_YOLO[1])
    builder.operator("LOGISTIC", (y if of_another else x,), (gate,))
    builder.operator("MUL", (x, gate), (made,), version=2)
    return flatgraph.read(builder.build((x, y), (made,)))


@pytest.mark.parametrize("of_another", [True, False])
def test_only_a_value_and_its_own_sigmoid_meet_in_a_swish(builder, of_another):
    graph = swish(builder, of_another=of_another)

    assert ties.has_ties(graph, graph.operators[1]) is of_another


def test_a_square_has_only_products_of_equals(builder):
    x = builder.tensor("x", (1, 4), scale=1.0)
    y = builder.tensor("y", (1, 4), scale=1.0)
    square, product = (
        builder.tensor(name, (1, 4), scale=6.0) for name in ("s", "p")
    )  # no square ends on 3 of 6 and 12
    builder.operator("MUL", (x, x), (square,), version=2)
    builder.operator("MUL", (x, y), (product,), version=2)
    graph = flatgraph.read(builder.build((x, y), (square, product)))

    found = [ties.has_ties(graph, operator) for operator in graph.operators]

    values = np.arange(-128, 128)
    squares = values * values
    assert found[0] is bool(np.any((squares % 12 == 3) & (squares < 127 * 6)))
    assert found[1]


@pytest.mark.parametrize("scale", [0.003, 0.02, 0.13, 0.9, 40.0])
@pytest.mark.parametrize("kernels", ["of XNNPACK", "of the runtime"])
def test_no_kernel_is_further_than_a_step_from_the_sigmoid(builder, request, kernels, scale):
    if kernels == "of the runtime":
        request.getfixturevalue("without_xnnpack")
    x = builder.tensor("x", (1, 256), scale=scale, zero_point=5)
    gate = builder.tensor("gate", (1, 256), **GATE)
    builder.operator("LOGISTIC", (x,), (gate,))
    model = builder.build((x,), (gate,))
    graph = flatgraph.read(model)
    stored = np.arange(-128, 128, dtype=np.int8)

    with Interpreter(model) as opened:
        (made,) = opened.run(stored[None])

    source, spec = (graph.tensors[index].spec for index in (x, gate))
    expected = ties._sigmoids(stored.astype(np.int64) - 5, source, spec)
    assert np.all((expected == made.reshape(-1, 1).astype(np.int64) + 128).any(axis=1))


def mean_of_256(builder, scale):
    x = builder.tensor("x", (1, 16, 16, 1), scale=0.017196455970406532, zero_point=-112)
    y = builder.tensor("y", (1, 1, 1, 1), scale=scale, zero_point=-110)
    axes = builder.tensor("axes", (2,), kind="INT32", scale=None, data=np.array([1, 2], np.int32))
    builder.operator("MEAN", (x, axes), (y,))
    return flatgraph.read(builder.build((x,), (y,)))


@pytest.mark.parametrize(("scale", "is_tied"), [(0.01515753474086523, True), (0.0173, False)])
def test_a_mean_is_looked_at_for_sums_that_the_zero_point_makes_ties(builder, scale, is_tied):
    """The first is of an EfficientNet, which gives another integer on Arm for sums of 1918 and -1918."""
    graph = mean_of_256(builder, scale)

    assert ties.has_ties(graph, graph.operators[0]) is is_tied
    assert kinds.each(graph)[0] == ("MEAN/int8:ties" if is_tied else "MEAN/int8")


def test_floats_have_none(builder):
    x = builder.tensor("x", (1, 4), scale=None, kind="FLOAT32")
    y = builder.tensor("y", (1, 4), scale=None, kind="FLOAT32")
    builder.operator("MUL", (x, x), (y,))
    graph = flatgraph.read(builder.build((x,), (y,)))

    assert not ties.has_ties(graph, graph.operators[0])
