"""One inference knows nothing of those before it."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflsplit.graph.interpreter import Interpreter


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
