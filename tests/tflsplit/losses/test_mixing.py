"""Which cut keeps columns apart that an operator mixes."""

import pytest
from lossy_models import mixing_model

from tflsplit.graph import cuts, flatgraph
from tflsplit.losses import measurement, mixing, twin


@pytest.fixture
def measured(samples):
    model = mixing_model()
    same = {index: index for index in range(4)}
    return measurement.measure(model, twin.of_model(flatgraph.read(model)), same, samples((1, 4, 9), (1, 2, 9)))


def found(measured, **words):
    all_cuts = cuts.enumerate_cuts(flatgraph.read(mixing_model()))
    return mixing.find(measured, all_cuts, **{"has_float_tails": False, "came_quantised": False} | words)


def test_the_cut_is_where_each_tensor_has_its_own_scale(measured):
    mixed = found(measured)
    assert (mixed.operator, mixed.kind, mixed.cut) == (1, "CONCATENATION", "input")
    assert [group.ranges for group in mixed.groups] == [((0, 3),), ((4, 5),)]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({}, "convert with --tail float32 and cut at input, where they still lie apart"),
        ({"has_float_tails": True}, "cut at input: its float tail keeps them apart"),
        (
            {"came_quantised": True},
            "they still lie apart at input: convert the float model with --tail float32 and cut there",
        ),
    ],
)
def test_the_remedy_is_what_can_be_done_with_the_package(measured, words, remedy):
    said = str(found(measured, **words))
    assert said.startswith("op001 (CONCATENATION) gives columns of different size one scale: columns 4-5 of axis 1")
    assert said.endswith(f"; {remedy}")


def test_a_model_of_one_scale_mixes_nothing(samples, residual_model):
    same = {index: index for index in range(4)}
    floating = twin.of_model(flatgraph.read(residual_model))
    assert found(measurement.measure(residual_model, floating, same, samples((1, 4)))) is None
