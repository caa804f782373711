"""LSTM layers as one operator each, UNIDIRECTIONAL_SEQUENCE_LSTM, in place of some fifteen for each time step.

Such an operator keeps its state between two runs, which `tflsplit.graph.interpreter` resets. TensorFlow's converter
makes it of a function that says so by an attribute, and only out of a SavedModel: there the layer's loop, which
`converters.amending.recurrence` marked in the frozen graph, gives way to a call of that function.
"""

import copy
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from converters.amending import recurrence
from converters.loading import quiet
from converters.loading.model import LoadedModel, samples_of
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

_OPERATOR = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_STATE, _CELL = 18, 19  # which of its inputs hold what it gave last, and the cells (lstm_shared.h)
# Its tanh takes 16 bits with 15 or fewer behind the point, and gives nothing for cells in a finer scale.
_FINEST_CELL = 2.0**-15
_PROOFS = 3
# Of the largest value: float32 sums in another order, over a hundred steps.
_TOLERANCE = 1e-3
_FLOAT32 = 1  # DataType (types.proto)


@dataclass(frozen=True, slots=True)
class Converted:
    """One model as a `.tflite` before and after it was quantised."""

    in_float: bytes
    in_integers: bytes


def count(model: LoadedModel) -> int:
    """How many LSTMs of a model could be one operator each."""
    return 0 if model.keras_model is None else len(_marked(model.concrete_function().graph.get_operations()))


def converted(model: LoadedModel, samples: Sequence[Array], convert: Callable[[Any], Converted]) -> bytes | None:
    """The model with its LSTMs as operators, made by `convert`, which sets a converter up and runs it; None where one
    of them could not become one, or where the same in float gives other results than the model on samples."""
    with _saved(model) as folder:
        made = convert(_converter(folder))
    if not has_all(made.in_float, model) or not has_all(made.in_integers, model):
        return None
    floating = _renamed(made.in_float, model)
    if not _is_same(floating, model, samples):
        return None
    model.floats[True] = floating
    return _renamed(made.in_integers, model)


def has_all(data: bytes, model: LoadedModel) -> bool:
    """Whether each LSTM of the model that could be is an operator of this file; false where it has none."""
    wanted = count(model)
    return wanted > 0 and sum(one.name == _OPERATOR for one in flatgraph.read(data).operators) == wanted


def named(arrays: Sequence[Array]) -> dict[str, Array]:
    """One sample as the SavedModel takes it."""
    return {_input(number): array for number, array in enumerate(arrays)}


def unrolled_note(model: LoadedModel, data: bytes) -> tuple[str, ...]:
    """What is to be told of LSTMs that are not operators though they could have been."""
    if not count(model) or has_all(data, model):
        return ()
    return ("LSTM layers are unrolled: as one operator each they could not be converted with the same results",)


def _marked(operations: Sequence[Any]) -> list[Any]:
    return [one for one in operations if recurrence.is_marked(one) and one.type == "IdentityN"]


def _converter(folder: str) -> Any:
    with quiet.silenced():
        return quiet.tensorflow().lite.TFLiteConverter.from_saved_model(folder)


def _is_same(data: bytes, model: LoadedModel, samples: Sequence[Array]) -> bool:
    with Interpreter(data) as made:
        for sample in samples_of([array[:_PROOFS] for array in samples]):
            found = made.run(*(array.astype(spec.dtype) for array, spec in zip(sample, made.inputs, strict=True)))
            for expected, one in zip(model.trace.run(sample), found, strict=True):
                most = float(np.max(np.abs(expected), initial=0.0))
                if not np.allclose(expected, one, rtol=_TOLERANCE, atol=_TOLERANCE * most):
                    return False
    return True


@contextmanager
def _saved(model: LoadedModel) -> Iterator[str]:
    """A SavedModel of the frozen graph, in a folder that lasts as long as the context."""
    tf = quiet.tensorflow()
    function = model.concrete_function()
    graph = _with_calls(function)

    def call(**arrays: Any) -> dict[str, Any]:
        given = {tensor.name: arrays[_input(number)] for number, tensor in enumerate(function.inputs)}
        wanted = [tensor.name for tensor in function.outputs]
        made = tf.graph_util.import_graph_def(graph, input_map=given, return_elements=wanted, name="")
        return {_output(number): tensor for number, tensor in enumerate(made)}

    specs = {
        _input(number): tf.TensorSpec(tensor.shape, tensor.dtype, name=_input(number))
        for number, tensor in enumerate(function.inputs)
    }
    with tempfile.TemporaryDirectory(prefix="tflsplit-lstm-") as folder, quiet.silenced():
        module = tf.Module()
        module.call = tf.function(call, autograph=False).get_concrete_function(**specs)
        tf.saved_model.save(module, folder, signatures=module.call)
        yield folder


def _with_calls(function: Any) -> Any:
    """The graph with a call of an LSTM function in place of what stands before each mark, which is left out."""
    graph = function.graph.as_graph_def()
    marked = _marked(function.graph.get_operations())
    shapes = {one.name: [tuple(entry.shape) for entry in one.inputs] for one in marked}
    for mark in [node for node in graph.node if node.name in shapes]:
        _, kernel, recurrent, bias, given = mark.input
        _, (_, gates), *_, (batch, _, _) = shapes[mark.name]
        zeros = np.zeros((batch, gates // 4), np.float32)
        made = _lstm(shapes[mark.name])
        graph.library.function.add().CopyFrom(made)
        state = graph.node.add(op="Const", name=f"{mark.name}_zeros")
        state.attr["dtype"].type = _FLOAT32
        state.attr["value"].tensor.CopyFrom(quiet.tensorflow().make_tensor_proto(zeros))
        call = graph.node.add(op="PartitionedCall", name=f"{mark.name}_call")
        call.input.extend([given, state.name, state.name, kernel, recurrent, bias])
        call.attr["f"].func.name = made.signature.name
        call.attr["Tin"].list.type.extend([_FLOAT32] * 6)
        call.attr["Tout"].list.type.extend([_FLOAT32] * 5)
        mark.op = "Identity"
        del mark.input[:]
        mark.input.append(f"{call.name}:{int(recurrence.SEQUENCE_MARK in mark.name)}")
        mark.attr.clear()
        mark.attr["T"].type = _FLOAT32
    ends = [tensor.op.name for tensor in (*function.inputs, *function.outputs)]
    return quiet.tensorflow().compat.v1.graph_util.extract_sub_graph(graph, ends)


def _lstm(shapes: Sequence[tuple[int, ...]]) -> Any:
    """A function with the attributes by which the converter knows Keras' LSTM, whose body it does not look at: the last
    state of all, all of them, both states, and a number that says where it ran."""
    tf = quiet.tensorflow()
    _, kernel, recurrent, bias, (batch, steps, _) = shapes
    state = (batch, kernel[1] // 4)

    def body(*arguments: Any) -> tuple[Any, ...]:
        _, hidden, cell, *_ = arguments
        return hidden, tf.zeros((batch, steps, state[1])), hidden, cell, tf.constant(1.0)

    attributes = {
        "api_implements": f"lstm_{uuid.uuid4()}",
        "api_preferred_device": "CPU",
        "go_backwards": False,
        "time_major": False,
    }
    wrapped = tf.function(body, autograph=False, experimental_attributes=attributes)
    specs = [tf.TensorSpec(shape) for shape in (shapes[4], state, state, kernel, recurrent, bias)]
    return wrapped.get_concrete_function(*specs).function_def


def _renamed(data: bytes, model: LoadedModel) -> bytes:
    """With inputs and outputs in the model's order and under its names; the SavedModel sorts its own."""
    graph = flatgraph.read(data)
    source = graph.source
    subgraph = source.subgraphs[0]
    signature = source.signatureDefs[0]
    names = {entry.name.decode(): entry.tensorIndex for entry in (*signature.inputs, *signature.outputs)}
    function = model.concrete_function()
    subgraph.inputs = [names[_input(number)] for number in range(len(function.inputs))]
    subgraph.outputs = [names[_output(number)] for number in range(len(function.outputs))]
    ends = (*zip(subgraph.inputs, function.inputs, strict=True), *zip(subgraph.outputs, function.outputs, strict=True))
    for index, tensor in ends:
        subgraph.tensors[index].name = tensor.op.name.encode()
    source.signatureDefs = None
    return flatgraph.pack(source)


def rescaled(data: bytes) -> bytes:
    """With the scales that kernels compute in, and a QUANTIZE where the converter states another behind them.

    An LSTM gives what has the scale of its last intermediate, and so has its state; REVERSE_V2 only moves. Where
    results are concatenated, or only the last step is used, the converter states the scale of what follows, and they
    were off by a tenth (4 to 8 dB instead of 34).
    """
    graph = flatgraph.read(data)
    if not any(operator.name in (_OPERATOR, "REVERSE_V2") for operator in graph.operators):
        return data
    edited = Edit(graph)
    tensors, operators = edited.subgraph.tensors, []
    for operator, made in zip(graph.operators, edited.subgraph.operators, strict=True):
        operators.append(made)
        result = operator.outputs[0]
        if operator.name == _OPERATOR:
            scale = _set_states(operator, made, tensors)
        elif operator.name == "REVERSE_V2" and graph.tensors[result].scale_count:
            scale = tensors[operator.inputs[0]].quantization
        else:
            continue
        if _steps(tensors[result].quantization) != _steps(scale):
            computed = edited.tensor_like(result, f"{graph.tensors[result].name}/computed", tensors[result].shape)
            tensors[computed].quantization = scale
            made.outputs = [computed]
            operators.append(edited.operator("QUANTIZE", 1, (computed,), result))
    edited.subgraph.operators = operators
    return flatgraph.pack(edited.source)


def doubts(graph: Graph) -> tuple[str, ...]:
    """Of the LSTMs in a quantised file that is taken as it is: scales that their kernel does not compute in."""
    found = []
    for operator, made in zip(graph.operators, graph.source.subgraphs[0].operators, strict=True):
        if operator.name != _OPERATOR or made.intermediates is None or not len(made.intermediates):
            continue
        tensors = graph.source.subgraphs[0].tensors
        where = f"operator {operator.index} ({_OPERATOR})"
        computed = tensors[int(made.intermediates[-1])].quantization
        for what, index in (("result", operator.outputs[0]), ("state", operator.inputs[_STATE])):
            stated = tensors[index].quantization
            if _is_scaled(stated) and _is_scaled(computed) and _steps(stated) != _steps(computed):
                (scale, zero_point), (right, right_zero) = _steps(stated), _steps(computed)
                found.append(
                    f"{where} states for its {what} a scale of {scale:.3g} (zero {zero_point}) and computes it in "
                    f"{right:.3g} (zero {right_zero}), so values are off; convert the model it was made from"
                )
        cell = tensors[operator.inputs[_CELL]].quantization
        if _is_scaled(cell) and _steps(cell)[0] < _FINEST_CELL:
            found.append(f"{where} keeps cells in steps of {_steps(cell)[0]:.3g}, finer than its tanh takes (2**-15)")
    return tuple(found)


def _is_scaled(quantisation: Any) -> bool:
    return quantisation is not None and quantisation.scale is not None and len(quantisation.scale) == 1


def _set_states(operator: Operator, made: Any, tensors: Sequence[Any]) -> Any:
    """Gives an LSTM's states scales that its kernel computes in; returns that of its result."""
    cell, state = tensors[operator.inputs[_CELL]], tensors[operator.inputs[_STATE]]
    if cell.quantization.scale[0] < _FINEST_CELL:
        cell.quantization = copy.copy(cell.quantization)
        cell.quantization.scale = [_FINEST_CELL]
    state.quantization = tensors[int(made.intermediates[-1])].quantization
    return state.quantization


def _steps(quantisation: Any) -> tuple[float, int]:
    return float(quantisation.scale[0]), int(quantisation.zeroPoint[0])


def _input(number: int) -> str:
    return f"input{number:03d}"


def _output(number: int) -> str:
    return f"output{number:03d}"
