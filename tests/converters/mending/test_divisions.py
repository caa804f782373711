"""A divisor that is zero gives a result; all others give what they gave."""

import numpy as np

from converters import quantize
from converters.mending import divisions
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter


def _mean_of_what_is_above(keras):
    """Mean over the steps that are above a limit; none may be."""
    entry = keras.Input((6, 4))
    above = keras.ops.relu(entry - 0.5)
    return keras.Model(entry, keras.ops.sum(above, 1) / keras.ops.sum(above, (1, 2), keepdims=False)[:, None])


def test_a_divisor_of_zero_does_not_end_the_run(load_built, samples):
    model = load_built(_mean_of_what_is_above)
    data = quantize.quantise(model, samples(model))

    with Interpreter(data) as opened:
        (result,) = opened.run(np.full((1, 6, 4), -128, np.int8))
    assert result.shape == (1, 4)
    assert divisions.note(data) == ("one step instead of zero for 1 divisor",)


def test_other_divisors_give_the_same_bits(load_built, samples, monkeypatch):
    model = load_built(_mean_of_what_is_above)
    with monkeypatch.context() as unguarded:
        unguarded.setattr(divisions, "kept_off_zero", lambda data: data)
        data = quantize.quantise(model, samples(model))
    random = np.random.default_rng(0)

    with Interpreter(data) as before, Interpreter(divisions.kept_off_zero(data)) as after:
        for _ in range(20):
            sample = random.integers(-128, 128, (1, 6, 4)).astype(np.int8)
            np.testing.assert_array_equal(before.run(sample)[0], after.run(sample)[0])


def test_a_model_without_such_divisions_is_left_alone(load_built, samples):
    def build(keras):
        entry = keras.Input((4,))
        return keras.Model(entry, keras.layers.Dense(3)(entry) / 3.0)

    model = load_built(build)
    data = quantize.quantise(model, samples(model))
    assert divisions.kept_off_zero(data) is data
    assert "MAXIMUM" not in {operator.name for operator in flatgraph.read(data).operators}
