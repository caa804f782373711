"""A `.tflite` file as a flat list of operators over tensors: read it, and write a part of it back.

Reading and writing use the schema bindings that come with LiteRT, so no TensorFlow is needed, and any machine that can
run a package can slice it. This module knows no cuts, runs no model and opens no file.
"""

import copy
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tflsplit import errors, extras
from tflsplit.graph import soundness
from tflsplit.graph.tensors import DTYPE_OF_CODE, Array, TensorSpec
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # only who writes a model describes it
    from tflsplit.graph.metadata import Description, Input, Output

LARGEST_TENSOR_BYTES = 1 << 30  # 16 times what a frame may carry; pictures of 100 megapixels take 300 MB
SIGNATURE = "serving_default"  # what TensorFlow calls the signature that a model is called by
FILE_IDENTIFIER = b"TFL3"  # bytes 4..8 of every TensorFlow Lite flatbuffer (schema.fbs, file_identifier)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph. `spec` is None where the type cannot leave the interpreter (resource, string, variant)."""

    index: int
    name: str
    shape: tuple[int, ...]
    type_name: str
    spec: TensorSpec | None
    buffer: int
    constant_bytes: int
    is_constant: bool
    is_variable: bool
    is_dynamic: bool
    scale_count: int

    @property
    def is_computed(self) -> bool:
        """An input, or what an operator makes: neither a constant nor the state that an operator keeps."""
        return not (self.is_constant or self.is_variable)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; `inputs` holds -1 for an optional input left out, as TFLite does."""

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The main subgraph of a model. `source` is the parsed file, for the functions of this module."""

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    source: Any

    def specs(self, indices: Sequence[int]) -> tuple[TensorSpec, ...]:
        """Specs of tensors that can leave the interpreter; a tensor that cannot is a CutError naming it."""
        found = []
        for index in indices:
            tensor = self.tensors[index]
            if tensor.spec is None:
                raise errors.CutError(
                    f"tensor {tensor.name!r} is of type {tensor.type_name} and cannot leave the model"
                )
            found.append(tensor.spec)
        return tuple(found)

    @property
    def variables(self) -> tuple[tuple[int, TensorSpec], ...]:
        """The state that operators keep from one run to the next: tensors by index, in the order of the operators that
        use them, so that those of a part of the graph are together."""
        used = dict.fromkeys(index for operator in self.operators for index in operator.inputs if index >= 0)
        kept = (self.tensors[index] for index in used if self.tensors[index].is_variable)
        return tuple((one.index, one.spec) for one in kept if one.spec is not None)


def read(data: bytes, *, name: str = "model") -> Graph:
    """Parse a `.tflite` file. `name` is what error messages call it.

    Raises ModelError for anything that is not one whole flatbuffer of TensorFlow Lite.
    """
    bindings = schema()
    source = parsed(data, name)
    with _malformed_is_ours(name):
        operator_names = _names(bindings.BuiltinOperator)
        for problem in soundness.problems(source, operator_names):
            raise errors.ModelError(f"{name}: cannot be run: {problem}; give an undamaged file of another converter")
        subgraph = source.subgraphs[0]
        type_names = _names(bindings.TensorType)
        _refuse_external_buffers(source, name)
        tensors = tuple(
            _tensor(index, tensor, source.buffers, type_names) for index, tensor in enumerate(subgraph.tensors)
        )
        operators = tuple(
            _operator(index, operator, source.operatorCodes, operator_names)
            for index, operator in enumerate(subgraph.operators or [])
        )
        graph = Graph(operators, tensors, _indices(subgraph.inputs), _indices(subgraph.outputs), source)
        _check_indices(graph)
    _refuse_enormous(graph, name)
    return graph


def parsed(data: bytes, name: str) -> Any:
    """The file's parts as objects of the schema's bindings, not yet checked against each other; as `read` otherwise."""
    bindings = schema()
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise errors.ModelError(
            f"{name}: not a TensorFlow Lite file (no {FILE_IDENTIFIER.decode()} mark); give a .tflite"
        )
    with _malformed_is_ours(name):
        return bindings.ModelT.InitFromObj(bindings.Model.GetRootAs(bytearray(data), 0))


def extract(
    graph: Graph,
    start: int,
    stop: int,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    described: "Description | None" = None,
) -> bytes:
    """Operators `start:stop` as a model of their own; see `select`."""
    return select(graph, range(start, stop), inputs, outputs, described=described)


def select(
    graph: Graph,
    chosen: Sequence[int],
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    described: "Description | None" = None,
) -> bytes:
    """Operators (indices, ascending) as a model of their own, with these tensors of `graph` as inputs and outputs.

    Weights, scales and zero points are those of the source, byte for byte. A tensor may be input and output at once.
    Subgraphs that control flow calls are kept whole. Metadata other than the minimal runtime version is left out: it
    describes the whole model. What is `described` takes its place.
    """
    part = copy.copy(graph.source)
    subgraph = copy.copy(graph.source.subgraphs[0])
    operators = [subgraph.operators[index] for index in chosen]
    used = _used_tensors(operators, inputs, outputs)
    renumbered = {old: new for new, old in enumerate(used)}
    subgraph.tensors = [copy.copy(subgraph.tensors[old]) for old in used]
    subgraph.operators = [_renumbered_operator(operator, renumbered) for operator in operators]
    subgraph.inputs = [renumbered[index] for index in inputs]
    subgraph.outputs = [renumbered[index] for index in outputs]
    subgraph.debugMetadataIndex = -1
    part.subgraphs = [subgraph, *[copy.copy(other) for other in part.subgraphs[1:]]]
    part.signatureDefs, part.metadata = None, _runtime_version(part)
    for other in part.subgraphs[1:]:
        other.tensors = [copy.copy(tensor) for tensor in other.tensors]
        other.operators = [copy.copy(operator) for operator in other.operators]
    _keep_used_codes(part)
    _keep_used_buffers(part)
    return pack(part, described)


def pack(source: Any, described: "Description | None" = None) -> bytes:
    """A parsed file (`Graph.source`), perhaps changed, as the bytes of a `.tflite`; with what is `described`, a
    signature by its names, and its files."""
    import flatbuffers

    if described is not None:
        source = _described(source, described)
    weights = sum(len(buffer.data) for buffer in source.buffers if buffer.data is not None)
    # Room for the weights and the rest at once: a builder that grows copies everything at each doubling.
    builder = flatbuffers.Builder(weights + weights // 8 + 65536)
    builder.Finish(source.Pack(builder), FILE_IDENTIFIER)
    packed = bytes(np.asarray(builder.Output()))
    if described is None:
        return packed
    from tflsplit.graph import metadata

    return metadata.with_files(packed, described)


def _described(source: Any, described: "Description") -> Any:
    """A copy that has it in place of the signatures and metadata that were there."""
    from tflsplit.graph import metadata

    bindings = schema()
    changed, buffer, entry, signature = (
        copy.copy(source),
        bindings.BufferT(),
        bindings.MetadataT(),
        bindings.SignatureDefT(),
    )
    buffer.data = np.frombuffer(metadata.flatbuffer(described), np.uint8)
    entry.name, entry.buffer = metadata.NAME, len(source.buffers)
    changed.buffers = [*source.buffers, buffer]
    changed.metadata = [*(_runtime_version(source) or []), entry]
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    subgraph = source.subgraphs[0]
    signature.inputs = [_named(*each) for each in zip(described.inputs, subgraph.inputs, strict=True)]
    signature.outputs = [_named(*each) for each in zip(described.outputs, subgraph.outputs, strict=True)]
    changed.signatureDefs = [signature]
    return changed


def _named(described: "Input | Output", tensor: int) -> Any:
    made = schema().TensorMapT()
    made.name, made.tensorIndex = described.name.encode(), int(tensor)
    return made


def _runtime_version(source: Any) -> list[Any] | None:
    return [copy.copy(entry) for entry in source.metadata or [] if entry.name == b"min_runtime_version"] or None


def options(graph: Graph, operator: Operator) -> Any:
    """The operator's parameters (the schema's `...OptionsT`, its fields in camelCase); None where it has none."""
    return graph.source.subgraphs[0].operators[operator.index].builtinOptions


def constant(graph: Graph, index: int) -> "Array | None":
    """The data of a constant tensor, read only, in its own shape; None where it is computed, or is no plain array."""
    tensor = graph.tensors[index]
    dtype = DTYPE_OF_CODE.get(graph.source.subgraphs[0].tensors[index].type)
    if not tensor.is_constant or dtype is None:
        return None
    data: Array = np.asarray(graph.source.buffers[tensor.buffer].data).view(dtype)
    return data.reshape(tensor.shape)


def real_constant(graph: Graph, index: int, *, name: str = "model") -> Array:
    """The values (float32) that a constant stands for, with a scale for each channel where it has them.

    ModelError for what is no plain array, as weights of 4 bits.
    """
    held, tensor = constant(graph, index), graph.tensors[index]
    if held is None:
        raise errors.ModelError(
            f"{name}: weights {tensor.name!r} are {tensor.type_name}, which cannot be read; export the model with "
            "float32, float16 or int8 weights"
        )
    scales, zero_points = _quantisation(graph.source.subgraphs[0].tensors[index].quantization)
    if not len(scales):
        return held.astype(np.float32)
    axis = int(graph.source.subgraphs[0].tensors[index].quantization.quantizedDimension)
    shape = [-1 if place == axis and len(scales) > 1 else 1 for place in range(held.ndim)]
    zero = np.resize(np.asarray(zero_points if len(zero_points) else (0,), np.float32), len(scales))
    real: Array = (held.astype(np.float32) - zero.reshape(shape)) * np.asarray(scales, np.float32).reshape(shape)
    return real


def schema() -> Any:
    """The bindings of the file's schema, with the classes of its parts; DeviceError where LiteRT is not installed."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as missing:
        raise errors.DeviceError(extras.need("reading .tflite files", "ai_edge_litert")) from missing
    return schema_py_generated


def _names(codes: type) -> dict[int, str]:
    return {value: key for key, value in vars(codes).items() if not key.startswith("_")}


@contextmanager
def _malformed_is_ours(name: str) -> Iterator[None]:
    """The bindings check no offset in the file; a bad one raises any of these."""
    try:
        yield
    except (struct.error, IndexError, TypeError, AttributeError, ValueError, OverflowError, MemoryError) as cause:
        raise errors.ModelError(f"{name}: damaged TensorFlow Lite file ({cause}); write it again") from cause


def _refuse_external_buffers(source: Any, name: str) -> None:
    # Files over 2 GB keep weights behind the flatbuffer, addressed by absolute offsets that a slice cannot keep.
    if any(getattr(buffer, "offset", 0) > 1 for buffer in source.buffers):
        raise errors.ModelError(f"{name}: weights stored outside the flatbuffer (over 2 GB) are not supported")


def _refuse_enormous(graph: Graph, name: str) -> None:
    """A small file can ask for any amount of memory, since it only states shapes."""
    for tensor in graph.tensors:
        if tensor.spec is not None and tensor.spec.bytes > LARGEST_TENSOR_BYTES:
            raise errors.ModelError(
                f"{name}: tensor {tensor.name!r} of shape {tensor.shape} takes {tensor.spec.bytes} bytes, "
                f"at most {LARGEST_TENSOR_BYTES} are accepted"
            )


def _tensor(index: int, tensor: Any, buffers: list[Any], type_names: dict[int, str]) -> Tensor:
    name = tensor.name.decode("utf-8", "replace") if tensor.name else f"tensor_{index}"
    shape = _indices(tensor.shape)
    data = buffers[tensor.buffer].data
    constant_bytes = 0 if data is None else len(data)
    scales, zero_points = _quantisation(tensor.quantization)
    dtype = DTYPE_OF_CODE.get(tensor.type)
    is_per_tensor = len(scales) == 1
    spec = None
    if dtype is not None:
        spec = TensorSpec(
            name,
            shape,
            dtype,
            float(scales[0]) if is_per_tensor else 0.0,
            int(zero_points[0]) if is_per_tensor and len(zero_points) else 0,
        )
    return Tensor(
        index=index,
        name=name,
        shape=shape,
        type_name=type_names.get(tensor.type, f"type {tensor.type}").lower(),
        spec=spec,
        buffer=int(tensor.buffer),
        constant_bytes=constant_bytes,
        is_constant=constant_bytes > 0,
        is_variable=bool(tensor.isVariable),
        is_dynamic=tensor.shapeSignature is not None and any(extent < 0 for extent in tensor.shapeSignature),
        scale_count=len(scales),
    )


def _quantisation(parameters: Any) -> tuple[Sequence[float], Sequence[int]]:
    if parameters is None or parameters.scale is None:
        return (), ()
    return parameters.scale, () if parameters.zeroPoint is None else parameters.zeroPoint


def _operator(index: int, operator: Any, codes: list[Any], operator_names: dict[int, str]) -> Operator:
    code = codes[operator.opcodeIndex]
    # Files written before builtin codes outgrew a byte carry them in the deprecated field only.
    name = operator_names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
    if name == "CUSTOM" and code.customCode:
        name = code.customCode.decode("utf-8", "replace")
    return Operator(index, name, int(code.version), _indices(operator.inputs), _indices(operator.outputs))


def _indices(vector: Any) -> tuple[int, ...]:
    return () if vector is None else tuple(int(entry) for entry in vector)


def _check_indices(graph: Graph) -> None:
    count = len(graph.tensors)
    referenced = [*graph.inputs, *graph.outputs]
    for operator in graph.operators:
        referenced += [index for index in operator.inputs if index != -1] + list(operator.outputs)
    if any(not 0 <= index < count for index in referenced):
        raise ValueError(f"an operator refers to a tensor beyond the {count} there are")


def _used_tensors(operators: Sequence[Any], inputs: Sequence[int], outputs: Sequence[int]) -> list[int]:
    used = {*inputs, *outputs}
    for operator in operators:
        used.update(_indices(operator.inputs), _indices(operator.outputs), _indices(operator.intermediates))
    used.discard(-1)
    return sorted(used)


def _renumbered_operator(operator: Any, renumbered: dict[int, int]) -> Any:
    changed = copy.copy(operator)
    for field in ("inputs", "outputs", "intermediates"):
        indices = getattr(operator, field)
        if indices is not None:
            setattr(changed, field, [renumbered.get(index, -1) for index in _indices(indices)])
    return changed


def _keep_used_codes(part: Any) -> None:
    operators = [operator for subgraph in part.subgraphs for operator in (subgraph.operators or [])]
    used = sorted({operator.opcodeIndex for operator in operators})
    renumbered = {old: new for new, old in enumerate(used)}
    part.operatorCodes = [part.operatorCodes[old] for old in used]
    for operator in operators:
        operator.opcodeIndex = renumbered[operator.opcodeIndex]


def _keep_used_buffers(part: Any) -> None:
    """Buffer 0 is the empty one that activations point to; it stays first."""
    tensors = [tensor for subgraph in part.subgraphs for tensor in subgraph.tensors]
    entries = part.metadata or []
    used = sorted({0, *(tensor.buffer for tensor in tensors), *(entry.buffer for entry in entries)})
    renumbered = {old: new for new, old in enumerate(used)}
    part.buffers = [part.buffers[old] for old in used]
    for tensor in tensors:
        tensor.buffer = renumbered[tensor.buffer]
    for entry in entries:
        entry.buffer = renumbered[entry.buffer]
    part.metadataBuffer = None
