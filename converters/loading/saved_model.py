"""Opens SavedModel directories: their serving signature, retraced for one sample. No Python of theirs runs.

A SavedModel is a program of TensorFlow operations, some of which read and write files; its graph is searched for those
before it is loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.loading import quiet, safety
from converters.loading.inputs import InputShapes, given_shapes, static_input
from converters.loading.model import LoadedModel
from tflsplit import errors

# Every SavedModel saves and restores its own variables with these; a signature has no business with them.
_CHECKPOINT_OPERATIONS = frozenset(
    {"SaveV2", "RestoreV2", "Save", "Restore", "SaveSlices", "RestoreSlice", "MergeV2Checkpoints"}
)


def load(path: Path, *, input_shapes: InputShapes, allow_unsafe: bool) -> LoadedModel:
    """As `loading.load`, for a SavedModel directory."""
    tf = quiet.tensorflow()
    if not allow_unsafe:
        check_operations(path)
    with quiet.silenced():
        try:
            saved = tf.saved_model.load(str(path))
        except Exception as cause:
            raise errors.ModelError(f"{path}: TensorFlow cannot load this SavedModel ({_line(cause)})") from cause
    name, signature = _serving_signature(saved.signatures, path)
    declared = signature.structured_input_signature[1]
    names = _input_order(signature)
    given = given_shapes(input_shapes, names, str(path))
    inputs = []
    for entry in names:
        if declared[entry].shape.rank is None:
            raise errors.ModelError(
                f"{path}: input {entry!r} of signature {name!r} has no known rank; export it with one"
            )
        shape = tuple(declared[entry].shape.as_list())
        inputs.append(static_input(entry, shape, declared[entry].dtype.name, given.get(entry), str(path)))
    output_names = tuple(signature.structured_outputs)

    def call(*tensors: Any, owner: Any = saved) -> Any:  # `owner`: the variables live as long as the loaded object
        outputs = signature(**dict(zip(names, tensors, strict=True)))
        return [outputs[entry] for entry in output_names]

    return LoadedModel(path, "saved_model", f"tensorflow {tf.__version__}", tuple(inputs), output_names, call)


def _serving_signature(signatures: Mapping[str, Any], path: Path) -> tuple[str, Any]:
    names = list(signatures)
    if "serving_default" in names:
        return "serving_default", signatures["serving_default"]
    if len(names) == 1:
        return names[0], signatures[names[0]]
    raise errors.ModelError(
        f"{path}: has signatures {names or 'none'}, expected 'serving_default'; export it with model.export"
    )


def _input_order(signature: Any) -> list[str]:
    """Keyword inputs have no order of their own; that of the function's arguments is the model's."""
    declared = list(signature.structured_input_signature[1])
    positions = {tensor.op.name.split("/")[-1]: index for index, tensor in enumerate(signature.inputs)}
    return sorted(declared, key=lambda name: positions.get(name, len(positions)))


def check_operations(path: Path) -> None:
    """Raise ModelError if the graph or a function of it can reach outside: files, Python, the network."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # comes with TensorFlow, untyped
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as cause:
        raise errors.ModelError(f"{path}: saved_model.pb is damaged or truncated ({cause}); copy it again") from cause
    if not saved.meta_graphs:
        raise errors.ModelError(f"{path}: saved_model.pb holds no graph; export the model again")
    for meta in saved.meta_graphs:
        functions = {function.signature.name: function for function in meta.graph_def.library.function}
        for node in (*meta.graph_def.node, *(node for function in functions.values() for node in function.node_def)):
            if node.op in safety.UNSAFE_OPERATIONS:
                raise _refused(path, node)
        for node in _signature_nodes(meta, functions):
            if node.op in _CHECKPOINT_OPERATIONS:
                raise _refused(path, node)


def _refused(path: Path, node: Any) -> errors.ModelError:
    return errors.ModelError(
        f"{path}: operation {node.op} ({node.name}) reaches outside the model; refused "
        "(--allow-unsafe loads it all the same, if you trust where it came from)"
    )


def _signature_nodes(meta: Any, functions: Mapping[str, Any]) -> Iterator[Any]:
    """The nodes that the serving signatures run, those of the functions they call included."""
    nodes = {node.name: node for node in meta.graph_def.node}
    pending = [
        nodes[tensor.name.split(":")[0]]
        for key, signature in meta.signature_def.items()
        if not key.startswith("__saved_model")
        for tensor in signature.outputs.values()
        if tensor.name.split(":")[0] in nodes
    ]
    seen: set[str] = set()
    called: set[str] = set()
    while pending:
        node = pending.pop()
        yield node
        for source in node.input:
            name = source.lstrip("^").split(":")[0]
            if name in nodes and name not in seen:
                seen.add(name)
                pending.append(nodes[name])
        for function in _functions_of(node):
            if function in functions and function not in called:
                called.add(function)
                pending += functions[function].node_def


def _functions_of(node: Any) -> Sequence[str]:
    return [
        name
        for value in node.attr.values()
        for name in (value.func.name, *(entry.name for entry in value.list.func))
        if name
    ]


def _line(cause: BaseException) -> str:
    return " ".join(str(cause).split())[:200]
