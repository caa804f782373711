"""A frozen graph that is run with its weights beside it.

As constants, weights are copied for each function that has them, and eight times more while TensorFlow prepares one to
run: gigabytes for a model of 100 MB.
"""

from collections.abc import Callable, Sequence
from typing import Any

from converters.loading import quiet
from converters.loading.frozen.graph import FLOATS
from tflsplit.graph.tensors import Array

# Smaller ones stay constants, which TensorFlow computes with beforehand; most weights of a big model are larger.
_LEAST_BYTES = 1 << 18


class Runner:
    """A frozen function with its weights, which all that is run of it share; the function itself may go."""

    def __init__(self, function: Any) -> None:
        tf = quiet.tensorflow()
        definition = function.graph.as_graph_def()
        self._inputs = [tensor.name for tensor in function.inputs]
        self._weights: dict[str, Any] = {}
        for node in definition.node:
            if node.op == "Const" and node.attr["dtype"].type in FLOATS and node.ByteSize() > _LEAST_BYTES:
                held = self._weights[node.name] = tf.constant(tf.make_ndarray(node.attr["value"].tensor))
                node.op = "Placeholder"
                node.attr.pop("value")
                node.attr["shape"].shape.CopyFrom(held.shape.as_proto())
        self._function = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])

    def pruned(self, names: Sequence[str]) -> Any:
        """The part of the function that computes these tensors; its weights are further inputs of it."""
        find = self._function.graph.get_tensor_by_name
        inputs = (*self._inputs, *(f"{name}:0" for name in self._weights))
        return self._function.prune([*map(find, inputs)], [*map(find, names)])

    def computing(self, names: Sequence[str]) -> Callable[[Sequence[Array]], tuple[Array, ...]]:
        """What computes these tensors for one sample, in their order."""
        tf, pruned, weights = quiet.tensorflow(), self.pruned(names), self._weights.values()
        return lambda sample: tuple(entry.numpy() for entry in pruned(*map(tf.constant, sample), *weights))

    def with_constants(self, pruned: Any) -> Any:
        """The graph's definition of a part that `pruned` gave, with its weights as constants again."""
        tf, definition = quiet.tensorflow(), pruned.graph.as_graph_def()
        for node in definition.node:
            if node.name in self._weights:
                node.op = "Const"
                node.attr.pop("shape")
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(self._weights[node.name].numpy()))
        return definition
