"""Files that would make the interpreter read or write beside its data are refused before it sees them."""

import pathlib

import mutations
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tflsplit import errors
from tflsplit.graph import flatgraph

PAD, CONV, DEPTHWISE, POOL, CONCATENATION, MEAN, DENSE = 0, 1, 2, 3, 4, 5, 7


def operator(model, index):
    return model.subgraphs[0].operators[index]


def tensor(model, name):
    return next(entry for entry in model.subgraphs[0].tensors if entry.name == name.encode())


def values(model, name, numbers):
    array = np.array(numbers, np.int32)
    tensor(model, name).shape = list(array.shape)
    model.buffers[tensor(model, name).buffer].data = np.frombuffer(array.tobytes(), np.uint8)


def drop_input(index, position):
    return lambda model: setattr(operator(model, index), "inputs", np.delete(operator(model, index).inputs, position))


def put(path, value):
    """Sets what `path(model)` leads to, an object and the name of its field."""

    def change(model):
        owner, field = path(model)
        setattr(owner, field, value)

    return change


def empty(name):
    def change(model):
        model.buffers[tensor(model, name).buffer].data = None

    return change


UNSOUND = {
    "no bias": (drop_input(DEPTHWISE, 2), r"operator 2 \(DEPTHWISE_CONV_2D\) has inputs .*, 3 are expected"),
    "no filter": (drop_input(CONV, 1), r"operator 1 \(CONV_2D\)"),
    "only an input": (lambda model: setattr(operator(model, CONV), "inputs", [0]), "2 to 3 are expected"),
    "a filter without data": (empty("dw"), r"takes tensor 6, which holds nothing when it runs"),
    "a short filter": (put(lambda model: (tensor(model, "cw"), "shape"), [8, 3, 3, 3]), "holds 108 bytes, 216 are"),
    "a filter for other channels": (put(lambda model: (tensor(model, "cw"), "shape"), [3, 3, 3, 4]), "filter"),
    "a bias for other channels": (lambda model: values(model, "cb", [1, 2, 3]), "a bias of shape"),
    "an input left out": (put(lambda model: (operator(model, CONCATENATION), "inputs"), [8, -1]), "has inputs"),
    "a tensor beyond": (put(lambda model: (operator(model, POOL), "inputs"), [99]), "beyond the 19 there are"),
    "a negative tensor": (put(lambda model: (operator(model, POOL), "outputs"), [-5]), "beyond the 19 there are"),
    "a buffer beyond": (put(lambda model: (tensor(model, "fw"), "buffer"), 99), "buffer 99 of"),
    "a code beyond": (put(lambda model: (operator(model, 0), "opcodeIndex"), 99), "a kind that is not in the file"),
    "an unknown code": (put(lambda model: (model.operatorCodes[0], "builtinCode"), 9999), "not in the file"),
    "an input beyond": (put(lambda model: (model.subgraphs[0], "inputs"), [99]), "its inputs or outputs"),
    "an output nobody makes": (lambda model: model.subgraphs[0].operators.pop(), "made by no operator"),
    "an order that cannot be": (lambda model: model.subgraphs[0].operators.reverse(), "holds nothing when it runs"),
    "output over a constant": (put(lambda model: (operator(model, MEAN), "outputs"), [3]), "something is already"),
    "no outputs": (put(lambda model: (operator(model, MEAN), "outputs"), []), "has 0 outputs"),
    "a negative extent": (put(lambda model: (tensor(model, "mean"), "shape"), [-1, 8]), r"has shape \[-1, 8\]"),
    "too many dimensions": (put(lambda model: (tensor(model, "mean"), "shape"), [1] * 99), "has shape"),
    "more scales than channels": (
        lambda model: (
            put(lambda model: (tensor(model, "cw").quantization, "scale"), [0.1] * 3)(model),
            put(lambda model: (tensor(model, "cw").quantization, "zeroPoint"), [0] * 3)(model),
        ),
        "has 3 scales along dimension 0",
    ),
    "scales along no dimension": (
        lambda model: (
            put(lambda model: (tensor(model, "cw").quantization, "scale"), [0.1] * 4)(model),
            put(lambda model: (tensor(model, "cw").quantization, "quantizedDimension"), 7)(model),
        ),
        "along dimension 7",
    ),
    "zero points for no scale": (
        put(lambda model: (tensor(model, "x").quantization, "zeroPoint"), [0] * 3),
        "3 zero points for 1 scales",
    ),
    "a zero point of no int8": (put(lambda model: (tensor(model, "x").quantization, "zeroPoint"), [999]), "outside"),
    "an infinite scale": (put(lambda model: (tensor(model, "x").quantization, "scale"), [np.inf]), "no finite number"),
    "an axis beyond": (put(lambda model: (operator(model, CONCATENATION).builtinOptions, "axis"), 9), "has axis 9"),
    "an axis beyond, as data": (lambda model: values(model, "axes", [1, 70]), "has axis 70"),
    "a stride of nothing": (put(lambda model: (operator(model, CONV).builtinOptions, "strideW"), 0), "has strideW 0"),
    "a window of nothing": (
        put(lambda model: (operator(model, POOL).builtinOptions, "filterHeight"), 0),
        "filterHeight",
    ),
}


@pytest.mark.parametrize(("change", "reason"), UNSOUND.values(), ids=UNSOUND)
def test_what_cannot_be_run_is_refused_with_its_place(change, reason):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(mutations.varied_model()), 0))
    change(model)
    with pytest.raises(errors.ModelError, match=rf"m\.tflite: cannot be run: .*{reason}"):
        flatgraph.read(flatgraph.pack(model), name="m.tflite")


def test_an_operator_that_is_known_to_crash_is_refused_by_name(shared_data: pathlib.Path):
    data = (shared_data / "models" / "tflm_keyword8.tflite").read_bytes()
    with pytest.raises(errors.ModelError, match=r"\(SVDF\) keeps int8 by .* int16 is expected: it crashes"):
        flatgraph.read(data)


def test_a_loop_may_call_only_what_is_there():
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(mutations.varied_model()), 0))
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 0, 5
    model.operatorCodes[POOL].builtinCode = model.operatorCodes[POOL].deprecatedBuiltinCode = 119
    operator(model, POOL).builtinOptions = options
    operator(model, POOL).builtinOptionsType = schema.BuiltinOptions.WhileOptions
    with pytest.raises(errors.ModelError, match="calls a subgraph that is not there"):
        flatgraph.read(flatgraph.pack(model))


def test_the_model_that_is_mutated_runs():
    assert mutations.tried(mutations.varied_model()).kind == "ran"


def test_hundreds_of_mutants_raise_our_errors_alone_and_end_no_process():
    found = mutations.outcomes(mutations.mutants(mutations.varied_model(), seed=1, count=400))
    assert set(found) <= {"refused", "unrunnable", "ran"}, found
    assert found["refused"] > 200
    assert found["ran"] > 20
