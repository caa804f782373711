"""What the outputs of Keras models mean, before they are quantised."""

import numpy as np
import pytest

from converters.float_model import endings
from tflsplit.graph import flatgraph, meanings
from tflsplit.graph.meanings import Meaning


def ending(*layers, shape=(6,)):
    return lambda k: k.Sequential([k.Input(shape), *(layer(k.layers) for layer in layers)])


CASES = {
    "softmax": (ending(lambda n: n.Dense(3, activation="softmax")), Meaning.SOFTMAX),
    "own softmax": (ending(lambda n: n.Dense(3), lambda n: n.Softmax()), Meaning.SOFTMAX),
    "logits": (ending(lambda n: n.Dense(3)), Meaning.LOGITS),
    "pooled": (
        ending(lambda n: n.Conv2D(4, 3), lambda n: n.GlobalAveragePooling2D(), shape=(8, 8, 3)),
        Meaning.LOGITS,
    ),
    "one of two": (ending(lambda n: n.Dense(1, activation="sigmoid")), Meaning.SIGMOID),
    "several": (ending(lambda n: n.Dense(4, activation="sigmoid")), Meaning.MULTI_LABEL),
    "regression": (ending(lambda n: n.Dense(1)), Meaning.VALUES),
    "embedding": (ending(lambda n: n.Dense(16), lambda n: n.UnitNormalization()), Meaning.VALUES),
    "autoencoder": (ending(lambda n: n.Dense(2), lambda n: n.Dense(6, activation="sigmoid")), Meaning.VALUES),
    "1x1": (
        ending(
            lambda n: n.Conv2D(5, 8),
            lambda n: n.Softmax(),
            shape=(8, 8, 3),
        ),
        Meaning.SOFTMAX,
    ),
    "map": (ending(lambda n: n.Conv2D(5, 1, activation="softmax"), shape=(8, 8, 3)), Meaning.VALUES),
}


@pytest.mark.parametrize(("build", "expected"), CASES.values(), ids=CASES)
def test_the_end_of_a_keras_model_tells_as_its_int8_model_does(load_built, samples, build, expected):
    from converters import quantize

    model = load_built(build)
    ((found, shape),) = endings.of_function(model.concrete_function(), has_labels=False)
    graph = flatgraph.read(quantize.quantise(model, samples(model), io_dtype="int8"))
    assert found is expected
    assert meanings.of_graph(graph, has_labels=False) == (expected,)
    assert np.prod(shape) == np.prod(graph.tensors[graph.outputs[0]].shape)
