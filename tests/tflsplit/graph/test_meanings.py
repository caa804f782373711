"""What outputs mean, told from the operators that end a model."""

import pathlib

import pytest
from ai_edge_litert import schema_py_generated as schema

from tflsplit.graph import flatgraph, meanings
from tflsplit.graph.meanings import Meaning

OPTIONS = {
    "SOFTMAX": schema.SoftmaxOptionsT,
    "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
    "RESHAPE": schema.ReshapeOptionsT,
}


def ended_by(builder, kind, shape, *, clamped=False, then=()):
    """A model of one operator, and what only arranges behind it."""
    x = builder.tensor("x", (1, 7))
    last = builder.tensor("y", shape)
    options = OPTIONS.get(kind, lambda: None)()
    if clamped:
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    inputs = (x, builder.tensor("w", (shape[-1], 7)), -1) if kind == "FULLY_CONNECTED" else (x,)
    kind_of_options = f"{type(options).__name__.removesuffix('T')}" if options else "NONE"
    builder.operator(kind, inputs, (last,), options, options_type=kind_of_options)
    for name in then:
        behind = builder.tensor(name, shape)
        builder.operator(name, (last,), (behind,), None)
        last = behind
    model = schema.ModelT()
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.operators = builder.tensors, builder.operators
    subgraph.inputs, subgraph.outputs = [x], [last]
    model.subgraphs, model.operatorCodes, model.buffers = [subgraph], builder.codes, builder.buffers
    tensors = tuple(
        flatgraph._tensor(place, tensor, builder.buffers, {}) for place, tensor in enumerate(builder.tensors)
    )
    names = flatgraph._names(schema.BuiltinOperator)
    operators = tuple(
        flatgraph._operator(place, operator, builder.codes, names) for place, operator in enumerate(builder.operators)
    )
    return flatgraph.Graph(operators, tensors, (x,), (last,), model)


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("SOFTMAX", (1, 3), Meaning.SOFTMAX),
        ("SOFTMAX", (1, 1, 1, 3), Meaning.SOFTMAX),
        ("SOFTMAX", (1, 8, 8, 3), Meaning.VALUES),  # of every pixel
        ("LOGISTIC", (1, 1), Meaning.SIGMOID),
        ("LOGISTIC", (1, 1, 1, 1), Meaning.SIGMOID),
        ("LOGISTIC", (1, 5), Meaning.MULTI_LABEL),
        ("LOGISTIC", (1, 7), Meaning.VALUES),  # as large as the input: an autoencoder's picture of it
        ("FULLY_CONNECTED", (1, 10), Meaning.LOGITS),
        ("FULLY_CONNECTED", (1, 1), Meaning.VALUES),
        ("FULLY_CONNECTED", (1, 7), Meaning.VALUES),
        ("TANH", (1, 2), Meaning.VALUES),
        ("L2_NORMALIZATION", (1, 128), Meaning.VALUES),
    ],
)
def test_the_operator_at_the_end_tells(builder, kind, shape, expected):
    assert meanings.of_graph(ended_by(builder, kind, shape), has_labels=False) == (expected,)


def test_what_only_arranges_behind_it_changes_nothing(builder):
    graph = ended_by(builder, "SOFTMAX", (1, 3), then=("QUANTIZE", "RESHAPE"))
    assert meanings.of_graph(graph, has_labels=False) == (Meaning.SOFTMAX,)


def test_what_is_cut_off_at_zero_is_no_score(builder):
    graph = ended_by(builder, "FULLY_CONNECTED", (1, 3), clamped=True)
    assert meanings.of_graph(graph, has_labels=False) == (Meaning.VALUES,)


@pytest.mark.parametrize(("kind", "extent"), [("TANH", 3), ("FULLY_CONNECTED", 7)])
def test_a_row_with_labels_holds_scores(builder, kind, extent):
    assert meanings.of_graph(ended_by(builder, kind, (1, extent)), has_labels=True) == (Meaning.LOGITS,)


def test_labels_make_no_scores_of_a_single_number(builder):
    assert meanings.of_graph(ended_by(builder, "TANH", (1, 1)), has_labels=True) == (Meaning.VALUES,)


@pytest.mark.parametrize(
    ("meaning", "shape", "count"),
    [
        (Meaning.SOFTMAX, (1, 3), 3),
        (Meaning.LOGITS, (1, 1, 1, 9), 9),
        (Meaning.SIGMOID, (1, 1), 2),
        (Meaning.MULTI_LABEL, (1, 5), 5),
        (Meaning.VALUES, (1, 1), 0),
        (Meaning.VALUES, (1, 8, 5040), None),
    ],
)
def test_an_output_takes_as_many_labels_as_it_has_classes(meaning, shape, count):
    assert meanings.label_count(meaning, shape) == count


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("models/mlc_resnet_int8.tflite", [Meaning.SOFTMAX]),
        ("models/mlc_ad_toycar_fullint.tflite", [Meaning.VALUES]),
        ("models/yolov8n_4class_640x384_int8.tflite", [Meaning.VALUES]),
        ("mobilenet_v1_0.25_128_quant.tflite", [Meaning.SOFTMAX]),
        ("tf2_mobilenet_v2_1.0_224_ptq.tflite", [Meaning.SOFTMAX]),
        ("models/blazeface_128_int8_float_ends.tflite", [Meaning.VALUES, Meaning.VALUES]),
        ("models/deeplabv3_mnv2_dm05_pascal_quant.tflite", [Meaning.VALUES]),
    ],
)
def test_of_public_models(shared_data: pathlib.Path, name, expected):
    graph = flatgraph.read((shared_data / name).read_bytes())
    assert list(meanings.of_graph(graph, has_labels=False)) == expected
