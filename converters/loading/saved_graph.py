"""The graph of a SavedModel, looked at before TensorFlow loads it: its protobuf is read, nothing in it runs.

Loading runs more than the signatures: initialisers of tables and variables, functions that restore them, the model's
own initialisation. So every operation of every function is looked at, whether anything seems to call it or not.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from converters.loading import operations
from converters.loading.frozen.graph import called_by
from tflsplit import errors


def check(path: Path) -> None:
    """Raise ModelError for an operation that is not known to only compute.

    Those that save and restore variables are let through where only the model's saver has them: we never save, and
    restore as TensorFlow does it.
    """
    for meta in _meta_graphs(path):
        graph = _Graph(meta)
        if graph.is_ambiguous:  # only one of two that share a name would be looked at
            raise _refused(path, "two functions or nodes of one name")
        save, restore = meta.saver_def.save_tensor_name, meta.saver_def.restore_op_name
        allowed = {
            operations.SAVING: graph.only_needed_by([save], run=[restore]),
            operations.RESTORING: graph.only_needed_by([save, restore]),
        }
        for place, node in graph.places():
            is_of_saver = any(node.op in kind and place in places for kind, places in allowed.items())
            if not is_of_saver and node.op not in operations.COMPUTING and node.op not in graph.functions:
                raise _refused(path, f"operation {node.op} ({node.name}) is not known to only compute")
            for name in called_by(node):  # a name that is no function of this graph could stand for any operation
                if name not in graph.functions:
                    raise _refused(path, f"operation {node.op} ({node.name}) calls {name!r}, which is not in the graph")


def _meta_graphs(path: Path) -> Sequence[Any]:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # comes with TensorFlow, untyped
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as cause:
        raise errors.ModelError(f"{path}: saved_model.pb is damaged or truncated ({cause}); copy it again") from cause
    if not saved.meta_graphs:
        raise errors.ModelError(f"{path}: saved_model.pb holds no graph; export the model again")
    return tuple(saved.meta_graphs)


def _refused(path: Path, reason: str) -> errors.ModelError:
    return errors.ModelError(
        f"{path}: {reason}; refused, because it could reach outside the model "
        "(--allow-unsafe loads it all the same, if you trust where it came from)"
    )


class _Graph:
    """The nodes and functions of a graph. A place is a node's name, or a function's with `()` behind it."""

    def __init__(self, meta: Any) -> None:
        library = meta.graph_def.library.function
        self.functions = {function.signature.name: function.node_def for function in library}
        self._nodes = {node.name: node for node in meta.graph_def.node}
        self.is_ambiguous = len(self.functions) + len(self._nodes) < len(library) + len(meta.graph_def.node)
        self._run = {*_outputs_and_initialisers(meta), *map(_place, _named_by_objects(meta))}

    def places(self) -> Iterator[tuple[str, Any]]:
        yield from self._nodes.items()
        for name, body in self.functions.items():
            yield from ((_place(name), node) for node in body)

    def only_needed_by(self, tensors: Sequence[str], *, run: Sequence[str] = ()) -> set[str]:
        """Places that only these nodes need: not `run`, not what else TensorFlow runs, nor any other call in it."""
        needed = self._needed_by(map(_node, filter(None, tensors)))
        others = {name for name, node in self._nodes.items() if name not in needed and called_by(node)}
        return needed - self._needed_by({*map(_node, run), *self._run, *others})

    def _needed_by(self, places: Iterable[str]) -> set[str]:
        """These places and all that they cannot run without, or call."""
        pending = list(places)
        found: set[str] = set()
        while pending:
            place = pending.pop()
            if place in found:
                continue
            found.add(place)
            nodes = (
                self.functions.get(place.removesuffix("()"), ()) if place.endswith("()") else [self._nodes.get(place)]
            )
            for node in filter(None, nodes):
                pending += [_place(name) for name in (node.op, *called_by(node)) if name in self.functions]
                if not place.endswith("()"):
                    pending += [_node(source) for source in node.input]
        return found


def _place(function: str) -> str:
    return f"{function}()"


def _node(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]


def _outputs_and_initialisers(meta: Any) -> Iterator[str]:
    """What TensorFlow runs of a graph that came without objects: signatures, collections, initial values."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    for signature in meta.signature_def.values():
        yield from (_node(tensor.name) for tensor in signature.outputs.values())
    for collection in meta.collection_def.values():
        yield from map(_node, collection.node_list.value)
        for entry in collection.bytes_list.value:
            with contextlib.suppress(DecodeError):  # collections of other things than variables
                variable = variable_pb2.VariableDef.FromString(entry)
                yield from map(_node, (variable.initializer_name, variable.initial_value_name, variable.snapshot_name))


def _named_by_objects(meta: Any) -> Iterator[str]:
    """Functions that the objects of the model name: loading runs some of them."""
    yield from meta.object_graph_def.concrete_functions
    for entry in meta.object_graph_def.nodes:
        yield from entry.function.concrete_functions
        yield entry.bare_concrete_function.concrete_function_name
