"""One inference knows nothing of those before it, unless it is told what they left."""

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from tflsplit import errors
from tflsplit.graph import interpreter as door
from tflsplit.graph.interpreter import Interpreter

STEPS = np.random.default_rng(0).integers(-128, 128, (2, 20, 1, 4), dtype=np.int8)


def _recurrent(builder) -> bytes:
    """A float recurrence of two units, whose state is a variable tensor: y = relu(W x + R state)."""
    x = builder.tensor("x", (1, 1, 2), scale=None, kind="FLOAT32")
    one = np.eye(2, dtype=np.float32)
    weights = builder.tensor("w", (2, 2), scale=None, data=one, kind="FLOAT32")
    recurrent = builder.tensor("r", (2, 2), scale=None, data=one, kind="FLOAT32")
    bias = builder.tensor("b", (2,), scale=None, data=np.zeros(2, np.float32), kind="FLOAT32")
    state = builder.tensor("state", (1, 2), scale=None, variable=True, kind="FLOAT32")
    y = builder.tensor("y", (1, 1, 2), scale=None, kind="FLOAT32")
    options = schema.SequenceRNNOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    inputs = (x, weights, recurrent, bias, state)
    builder.operator("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, (y,), options, options_type="SequenceRNNOptions")
    return builder.build((x,), (y,))


def test_state_that_an_operator_keeps_is_reset_before_each_run(builder):
    given = np.array([[[1.0, 2.0]]], np.float32)
    with Interpreter(_recurrent(builder)) as opened:
        first, second = opened.run(given)[0], opened.run(given)[0]
    np.testing.assert_array_equal(first, given)
    np.testing.assert_array_equal(second, given)


def test_a_run_may_go_on_from_where_the_last_one_ended(builder):
    given = np.array([[[1.0, 2.0]]], np.float32)
    with Interpreter(_recurrent(builder)) as opened:
        results = [opened.run(given, goes_on=number > 0)[0][0, 0].tolist() for number in range(3)]
    assert results == [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]


def _alone(model, steps):
    with Interpreter(model) as opened:
        return [opened.run(step, goes_on=number > 0)[0].tolist() for number, step in enumerate(steps)]


def test_streams_that_take_turns_each_go_on_from_what_they_left():
    model = tiny_models.remembering_model()
    with Interpreter(model) as opened:
        found, states = ([], []), [None, None]
        for pair in zip(*STEPS, strict=True):
            for number, step in enumerate(pair):
                (output,), states[number] = opened.step(states[number], step)
                opened.run(STEPS[0, 0])  # anybody's
                found[number].append(output.tolist())

    assert list(found) == [_alone(model, steps) for steps in STEPS]
    assert found[0] != [_alone(model, [step])[0] for step in STEPS[0]]


def test_an_lstm_of_8_and_16_bits_goes_on_from_what_it_left(shared_data):
    model = (shared_data / "models" / "coral_lstm_mnist.tflite").read_bytes()
    steps = np.random.default_rng(0).integers(0, 256, (6, 1, 28, 28), dtype=np.uint8)
    with Interpreter(model) as opened:
        run = opened.stream(is_stateful=True)
        found = []
        for step in steps:
            found.append(run(step)[0].tolist())
            opened.run(steps[0])

    assert found == _alone(model, steps)
    assert found != [_alone(model, [step])[0] for step in steps]


def test_a_state_of_another_model_is_refused():
    with (
        Interpreter(tiny_models.remembering_model()) as opened,
        pytest.raises(errors.DataError, match="a state of 3 bytes is not one of this model's"),
    ):
        opened.step(b"abc", STEPS[0, 0])


def test_a_model_that_keeps_nothing_leaves_no_state(residual_model):
    with Interpreter(residual_model) as opened:
        outputs, state = opened.step(None, STEPS[0, 0])
        again, _ = opened.step(state, STEPS[0, 0])

    assert (state, outputs[0].tolist()) == (b"", again[0].tolist())


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, MemoryError, OverflowError, IndexError])
def test_whatever_the_runtime_raises_is_ours(kind):
    said = pytest.raises(errors.DeviceError, match="m: the TensorFlow Lite interpreter cannot run it: bad")
    with said, door._runtime_errors("m"):
        raise kind("bad")
