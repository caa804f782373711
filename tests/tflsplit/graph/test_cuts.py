import dataclasses

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from tflsplit import errors
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.interpreter import Interpreter


def test_every_place_is_a_cut_from_input_to_output(residual_model):
    found = cuts.enumerate_cuts(flatgraph.read(residual_model))

    assert [cut.id for cut in found] == ["input", "op000", "op001", "output"]
    assert [cut.after_operator for cut in found] == [-1, 0, 1, 2]
    assert [cut.head.operators for cut in found] == [0, 1, 2, 3]
    assert [cut.tail.operators for cut in found] == [3, 2, 1, 0]


def test_a_tensor_used_on_both_sides_is_boundary_even_if_consumed_before(residual_model):
    after_b = cuts.enumerate_cuts(flatgraph.read(residual_model))[2]

    assert [spec.name for spec in after_b.boundary] == ["a", "b"]
    assert after_b.payload_bytes == 8


def test_useful_means_strictly_below_every_earlier_payload(builder):
    x = builder.tensor("x", (1, 8))
    y = builder.tensor("y", (1, 8))
    z = builder.tensor("z", (1, 4))
    w = builder.tensor("w", (1, 4))
    for source, target in ((x, y), (y, z), (z, w)):
        builder.operator("RELU", (source,), (target,))
    found = cuts.enumerate_cuts(flatgraph.read(builder.build((x,), (w,))))

    assert [(cut.payload_bytes, cut.is_useful) for cut in found] == [(8, True), (8, False), (4, True), (4, False)]


def test_an_input_needed_late_and_an_output_made_early_cross_the_cut(builder):
    x, late = builder.tensor("x", (1, 4)), builder.tensor("late", (1, 4))
    early = builder.add(x, x, "early", (1, 4))
    b = builder.add(early, early, "b", (1, 4))
    last = builder.add(b, late, "last", (1, 4))
    model = builder.build((x, late), (early, last))
    graph = flatgraph.read(model)
    after_b = cuts.enumerate_cuts(graph)[2]

    assert {spec.name for spec in after_b.boundary} == {"late", "early", "b"}

    samples = (np.array([[1, -2, 3, -4]], np.int8), np.array([[9, 8, -7, 6]], np.int8))
    with (
        Interpreter(model) as whole,
        Interpreter(cuts.head_bytes(graph, after_b)) as head,
        Interpreter(cuts.tail_bytes(graph, after_b)) as tail,
    ):
        expected, found = whole.run(*samples), tail.run(*head.run(*samples))
    assert all(np.array_equal(left, right) for left, right in zip(expected, found, strict=True))


def test_state_bars_every_cut_between_its_users(builder):
    x = builder.tensor("x", (1, 4))
    state = builder.tensor("state", (1, 4), variable=True)
    a = builder.add(x, state, "a", (1, 4))
    b = builder.add(a, a, "b", (1, 4))
    c = builder.add(b, state, "c", (1, 4))
    d = builder.add(c, c, "d", (1, 4))
    graph = flatgraph.read(builder.build((x,), (d,)))

    assert [cut.id for cut in cuts.enumerate_cuts(graph)] == ["input", "op002", "output"]
    assert "'state' is used on both sides" in cuts.obstacles(graph)[1]


def test_a_resource_cannot_cross(builder):
    x = builder.tensor("x", (1, 4))
    handle = builder.tensor("handle", (1,), kind="RESOURCE", scale=None)
    y = builder.tensor("y", (1, 4))
    builder.operator("VAR_HANDLE", (), (handle,))
    builder.operator("READ_VARIABLE", (handle,), (y,))
    z = builder.add(x, y, "z", (1, 4))
    graph = flatgraph.read(builder.build((x,), (z,)))

    assert [cut.id for cut in cuts.enumerate_cuts(graph)] == ["input", "op001", "output"]


def test_macs_and_parameter_bytes_of_a_convolution(builder):
    x = builder.tensor("x", (1, 8, 8, 3))
    weights = builder.tensor("w", (16, 3, 3, 3), data=np.ones((16, 3, 3, 3), np.int8))
    bias = builder.tensor("b", (16,), data=np.zeros(16, np.int32), kind="INT32")
    y = builder.tensor("y", (1, 4, 4, 16))
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = 2
    builder.operator("CONV_2D", (x, weights, bias), (y,), options, options_type="Conv2DOptions", version=3)
    head = cuts.enumerate_cuts(flatgraph.read(builder.build((x,), (y,))))[-1].head

    assert head.macs == 4 * 4 * 16 * 3 * 3 * 3
    assert head.parameter_bytes == 16 * 27 + 16 * 4


def test_a_cut_is_found_by_id_layer_or_tensor(residual_model):
    found = cuts.enumerate_cuts(flatgraph.read(residual_model))

    assert cuts.find(found, "op000").boundary[0].name == "a"
    assert cuts.find(found, "a").id == "op000"


def test_an_unknown_layer_is_refused_with_the_nearest_two(residual_model):
    found = cuts.enumerate_cuts(flatgraph.read(residual_model))

    with pytest.raises(errors.CutError, match=r"no cut or layer 'op009' .* op000 or op001"):
        cuts.find(found, "op009")


def test_a_layer_fused_into_an_operator_says_so_and_names_its_neighbours(residual_model):
    found = cuts.enumerate_cuts(flatgraph.read(residual_model))

    with pytest.raises(errors.CutError, match=r"'conv1' ends inside operator 1 .* op000 or op001"):
        cuts.find(found, "conv1", {"conv1": 1})


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        ("usefull", "did you mean useful?"),
        ("OP01", "did you mean op000 or op001?"),
        ("nothing like it", "`tflsplit inspect` lists them"),
        ("", "`tflsplit inspect` lists them"),
    ],
)
def test_what_is_suggested_is_alike_or_the_list(residual_model, wanted, remedy):
    found = cuts.enumerate_cuts(flatgraph.read(residual_model))

    with pytest.raises(errors.CutError) as refused:
        cuts.find(found, wanted, besides=("all", "useful"))
    assert str(refused.value) == f"no cut or layer {wanted!r} in this model; {remedy}"


def test_a_suggested_layer_is_no_longer_than_a_line(residual_model):
    found = [
        dataclasses.replace(cut, layer=f"{'x' * 100}{cut.id}")
        for cut in cuts.enumerate_cuts(flatgraph.read(residual_model))
    ]

    with pytest.raises(errors.CutError, match=r"op000 \(x+…x*op000\)") as refused:
        cuts.find(found, "x" * 100 + "op00")
    assert len(str(refused.value)) < 350


def test_the_last_softmax_stays_in_the_tail_unless_all_is_in_the_head(builder):
    x = builder.tensor("x", (1, 4))
    a = builder.add(x, x, "a", (1, 4))
    soft = builder.tensor("soft", (1, 4), scale=1 / 256, zero_point=-128)
    y = builder.tensor("y", (1, 4), scale=1 / 256, kind="UINT8")
    builder.operator("SOFTMAX", (a,), (soft,), version=2)
    builder.operator("QUANTIZE", (soft,), (y,), version=2)
    graph = flatgraph.read(builder.build((x,), (y,)))

    assert [cut.id for cut in cuts.enumerate_cuts(graph)] == ["input", "op000", "output"]
    assert "SOFTMAX" in cuts.obstacles(graph)[2]


def test_a_softmax_inside_a_model_can_be_cut_behind(builder):
    x = builder.tensor("x", (1, 4))
    soft = builder.tensor("soft", (1, 4), scale=1 / 256, zero_point=-128)
    builder.operator("SOFTMAX", (x,), (soft,), version=2)
    graph = flatgraph.read(builder.build((x,), (builder.add(soft, soft, "y", (1, 4)),)))

    assert [cut.id for cut in cuts.enumerate_cuts(graph)] == ["input", "op000", "output"]


def test_between_many_steps_only_halves_are_listed():
    found = cuts.enumerate_cuts(flatgraph.read(tiny_models.steps_model(40)))

    assert [len(cut.boundary) for cut in found] == [1, *range(40, 0, -1)]
    crowded = [cut for cut in found if len(cut.boundary) > 8]
    assert [len(cut.boundary) for cut in crowded if cut.is_listed] == [20, 10]
    assert all(cut.is_listed and cut.is_useful for cut in found if 1 < len(cut.boundary) <= 8)


def test_both_sides_count_shared_weights_once(builder):
    x = builder.tensor("x", (1, 4))
    shared, own = (builder.tensor(name, (1, 4), data=np.arange(4, dtype=np.int8)) for name in ("shared", "own"))
    a = builder.add(x, shared, "a", (1, 4))
    b = builder.add(a, own, "b", (1, 4))
    c = builder.add(b, shared, "c", (1, 4))
    found = cuts.enumerate_cuts(flatgraph.read(builder.build((x,), (c,))))

    assert [cut.head.parameter_bytes for cut in found] == [0, 4, 8, 8]
    assert [cut.tail.parameter_bytes for cut in found] == [8, 8, 4, 0]
    assert [cut.head.operators + cut.tail.operators for cut in found] == [3, 3, 3, 3]
