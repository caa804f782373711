"""A frozen graph that is being rewritten: its nodes by name, what they compute, and new ones beside them."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from converters.amending import recurrence
from converters.loading import quiet
from tflsplit.graph.tensors import Array

FLOATS = (1, 14, 19)  # DataType of float32, bfloat16, float16 (types.proto)


class Graph:
    """Nodes by name, and new ones beside them. Edges that only order them are left out: frozen, none has an effect on
    another. `is_tied` says if constants had some, as in a SavedModel, which ties each of them to the inputs."""

    def __init__(self, function: Any) -> None:
        graph_def = function.graph.as_graph_def()
        tied = [node for node in graph_def.node if any(source.startswith("^") for source in node.input)]
        for node in tied:
            node.input[:] = [source for source in node.input if not source.startswith("^")]
        self.is_tied = any(node.op == "Const" for node in tied)
        self._function = function
        self._before = {node.name for node in graph_def.node}
        self.definition = graph_def
        self.nodes = {node.name: node for node in graph_def.node}
        self.users: dict[str, list[Any]] = {}
        for node in graph_def.node:
            for source in node.input:
                self.users.setdefault(node_name(source), []).append(node)

    def function(self) -> Any:
        """The graph as it is now, with the inputs and outputs that it had."""
        return function_of(self.definition, self._function)

    def add(self, operation: str, name: str, inputs: Sequence[str], like: Any) -> str:
        """A new node of the type of `like`; its name."""
        node = self.definition.node.add()
        node.op, node.name = operation, name
        node.input.extend(inputs)
        node.attr["T"].CopyFrom(like.attr["T"])
        self.nodes[name] = node
        return name

    def constant(self, name: str, value: float, like: Any) -> str:
        """A scalar of the type of `like`."""
        kind = quiet.tensorflow().dtypes.as_dtype(like.attr["T"].type).as_numpy_dtype
        return self.held(name, np.asarray(value, kind))

    def held(self, name: str, array: Array) -> str:
        """A constant of an array."""
        tf = quiet.tensorflow()
        node = self.definition.node.add()
        node.op, node.name = "Const", name
        node.attr["dtype"].type = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        self.nodes[name] = node
        return name

    def array(self, source: str) -> "Array | None":
        """The value of a tensor that no sample has a part in, but for its shape, which is fixed; None for any other."""
        if self.depends_on(source, "Placeholder") or node_name(source) not in self._before:
            return None
        tf, inputs, node = quiet.tensorflow(), self._function.inputs, self.nodes[node_name(source)]
        if node.op == "Const":
            return np.asarray(tf.make_ndarray(node.attr["value"].tensor))
        tensor = self._function.graph.get_tensor_by_name(source if ":" in source else f"{source}:0")
        if any(not entry.shape.is_fully_defined() for entry in inputs):
            return None
        zeros = [tf.zeros(entry.shape, entry.dtype) for entry in inputs]
        held: Array = self._function.prune(inputs, [tensor])(*zeros)[0].numpy()
        return held

    def origin(self, source: str) -> Any:
        """The node that makes a tensor, before any identities."""
        node = self.nodes.get(node_name(source))
        while node is not None and node.op == "Identity":
            node = self.nodes.get(node_name(node.input[0]))
        return node

    def only(self, source: str, *operations: str) -> Any:
        """The node that makes `source`, if it is of one of these kinds and computes for one other alone."""
        node = self.nodes.get(node_name(source))
        if node is None or node.op not in operations:
            return None
        users = [user for user in self.users.get(node.name, ()) if user.op != "Identity" or user.name in self.users]
        return node if len(users) == 1 else None

    def shape(self, source: str) -> tuple[int, ...] | None:
        """The shape of a tensor of the graph as it was; None where it is not known, or the tensor is new."""
        if node_name(source) not in self._before:
            return None
        tensor = self._function.graph.get_tensor_by_name(source if ":" in source else f"{source}:0")
        return tuple(tensor.shape.as_list()) if tensor.shape.is_fully_defined() else None

    def users_of(self, source: str) -> list[Any]:
        """The nodes that compute with a tensor, without the identities that only name a result."""
        plain, first = source.removesuffix(":0"), f"{source.removesuffix(':0')}:0"
        return [
            user
            for user in self.users.get(node_name(source), ())
            if (plain in user.input or first in user.input) and (user.op != "Identity" or user.name in self.users)
        ]

    def value(self, source: str) -> float | None:
        """The value of a constant of one element; None for anything else."""
        held = self.array(source)
        return float(held.reshape(-1)[0]) if held is not None and held.size == 1 and held.dtype.kind in "fiu" else None

    def factor(self, product: str, of: str) -> float | None:
        """The constant by which `of` is multiplied to give `product`."""
        node = self.nodes.get(node_name(product))
        if node is None or node.op != "Mul" or of not in node.input:
            return None
        return self.value(next((source for source in node.input if source != of), of))

    def scaled(self, source: str) -> tuple[float, str]:
        """A constant factor and what it multiplies; 1 and the tensor itself where there is none."""
        node = self.nodes.get(node_name(source))
        if node is not None and node.op == "Mul":
            for one, other in (node.input, reversed(node.input)):
                if (factor := self.value(one)) is not None:
                    return factor, other
        return 1.0, source

    def without(self, source: str, added: float) -> str | None:
        """What `added` was added to, to give this tensor."""
        node = self.nodes.get(node_name(source))
        if node is None or node.op not in ("AddV2", "Add", "Sub"):
            return None
        pairs = [tuple(node.input)] if node.op == "Sub" else [tuple(node.input), tuple(reversed(node.input))]
        wanted = -added if node.op == "Sub" else added
        return next((one for one, other in pairs if self.value(other) == wanted), None)

    def depends_on(self, source: str, operation: str) -> bool:
        """Whether a node of this kind is among those that compute `source`, by more than its shape."""
        # By distance: each step of an unrolled recurrence is near the input, by way of the others far from it.
        waiting, seen = deque([node_name(source)]), set()
        while waiting:
            name = waiting.popleft()
            node = self.nodes.get(name)
            if node is not None and node.op == operation:
                return True
            if node is not None and name not in seen and node.op not in ("Shape", "Size", "Rank"):
                seen.add(name)
                waiting += map(node_name, node.input)
        return False

    def behind(self, source: str, operation: str) -> Any:
        """The node of this kind behind nothing but arithmetic with positive constants; None if there is none."""
        node = self.nodes.get(node_name(source))
        while node is not None and node.op in ("Sub", "Mul", "AddV2", "Identity"):
            computed = [entry for entry in node.input if self.value(entry) is None]
            node = self.nodes.get(node_name(computed[0])) if len(computed) == 1 else None
        return node if node is not None and node.op == operation else None


def become(node: Any, operation: str, inputs: Sequence[str]) -> None:
    """The node under its name, so that all that refer to it still do."""
    kept = {key: node.attr[key] for key in ("T", "_output_shapes") if key in node.attr}
    node.op = operation
    del node.input[:]
    node.input.extend(inputs)
    values = {key: value.SerializeToString() for key, value in kept.items()}
    node.attr.clear()
    for key, value in values.items():
        node.attr[key].ParseFromString(value)


def node_name(source: str) -> str:
    return source.lstrip("^").partition(":")[0]


def called_by(node: Any) -> list[str]:
    """The functions that a node calls."""
    return [
        name
        for value in node.attr.values()
        for name in (value.func.name, *(entry.name for entry in value.list.func))
        if name
    ]


def needed(function: Any) -> list[Any]:
    """The operations that the outputs are computed from."""
    return needed_for(function.outputs)


def needed_for(tensors: Sequence[Any]) -> list[Any]:
    """The operations that these tensors are computed from, but for the loops of LSTMs that are to be operators."""
    waiting = list({tensor.op.name: tensor.op for tensor in tensors}.values())
    seen = {operation.name for operation in waiting}
    for operation in waiting:  # grows while it is read
        sources = operation.inputs[1:] if recurrence.is_marked(operation) else operation.inputs
        for source in (tensor.op for tensor in sources):
            if source.name not in seen:
                seen.add(source.name)
                waiting.append(source)
    return waiting


def scopes_of(operation: str) -> Iterator[str]:
    """Those around an operation, the innermost first."""
    while "/" in operation:
        operation = operation.rpartition("/")[0]
        yield operation


def function_of(definition: Any, like: Any) -> Any:
    """A graph as a function with the inputs and outputs of `like`."""
    tf = quiet.tensorflow()
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    find = imported.graph.get_tensor_by_name
    return imported.prune([find(tensor.name) for tensor in like.inputs], [find(tensor.name) for tensor in like.outputs])
