"""The rule table against public compiler logs, models that Google compiled, and one small graph for each limit."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.edgetpu import log, rules
from tflsplit.graph import cuts, flatgraph

PICTURE = (1, 8, 8, 4)


def verdict(builder, inputs, outputs):
    """Of the last operator."""
    return rules.judge(flatgraph.read(builder.build(inputs, outputs)))[-1]


def one(builder, name, *, shape=PICTURE, output=None, weights=(), constants=(), options=None, version=1, kind="INT8"):
    """An operator on one tensor; `weights` are shapes of int8 constants, `constants` int32 arrays."""
    x = builder.tensor("x", shape, kind=kind)
    y = builder.tensor("y", output or shape, kind=kind)
    others = [builder.tensor(f"w{number}", s, data=np.ones(s, np.int8)) for number, s in enumerate(weights)]
    others += [
        builder.tensor(f"c{number}", np.shape(value), data=np.asarray(value, np.int32), scale=None, kind="INT32")
        for number, value in enumerate(constants)
    ]
    kind_of_options = type(options).__name__.removesuffix("T") if options else "NONE"
    builder.operator(name, (x, *others), (y,), options, options_type=kind_of_options, version=version)
    return verdict(builder, (x,), (y,))


def options_of(name, **fields):
    made = getattr(schema, f"{name}OptionsT")()
    for key, value in fields.items():
        assert hasattr(made, key)
        setattr(made, key, value)
    return made


CONV = {"weights": [(4, 1, 1, 4)], "version": 3,
        "options": options_of("Conv2D", dilationWFactor=1, dilationHFactor=1)}  # fmt: skip

# Rows of public logs, each with an operator of which the compiler would say so. Versions were not posted: 16 maps
# version 3 of the resizing operators, so "not supported" is tried with the next. A RESHAPE that is "not mapped due to
# some unspecified limitation" cannot be told from one that maps.
LOGGED = [
    (("ADD", 42, log.MAPPED), {"weights": [PICTURE], "version": 2}),
    (("RESIZE_NEAREST_NEIGHBOR", 4, "Operation version not supported"),
     {"constants": [[16, 16]], "output": (1, 16, 16, 4), "version": 4}),
    (("CUSTOM", 1, "Operation is working on an unsupported data type"), {"kind": "FLOAT32"}),
    (("RESHAPE", 10, "Operation is working on an unsupported data type"),
     {"constants": [[1, 256]], "output": (1, 256), "kind": "FLOAT32"}),
    (("CONV_2D", 6, "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"),
     CONV | {"shape": (30, 8, 8, 4)}),
    (("CONV_2D", 222, log.MAPPED), CONV),
    (("LOGISTIC", 64, log.MAPPED), {"version": 2}),
    (("RESIZE_NEAREST_NEIGHBOR", 2, log.MAPPED),
     {"constants": [[16, 16]], "output": (1, 16, 16, 4), "version": 3}),
]  # fmt: skip  # a row of a log, and its operator


@pytest.mark.parametrize(("row", "operator"), LOGGED, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_the_rules_agree_with_public_logs(builder, row, operator):
    assert one(builder, row[0], **operator).maps == (row[2] == log.MAPPED)


def test_what_maps_behind_what_does_not_is_told_apart(builder):
    """CONV_2D 12 "More than one subgraph is not supported": nothing is wrong with those convolutions."""
    x, a = builder.tensor("x", (1, 4)), builder.tensor("a", (1, 4))
    first = builder.add(x, x, "first", (1, 4))
    builder.operator("HARD_SWISH", (first,), (a,))
    last = builder.add(a, a, "last", (1, 4))
    graph = flatgraph.read(builder.build((x,), (last,)))
    verdicts = rules.judge(graph, {1: "swish"})

    assert [entry.maps for entry in verdicts] == [True, False, True]
    assert [entry.is_on_tpu for entry in verdicts] == [True, False, False]
    assert verdicts[1].layer == "swish"
    assert verdicts[2].as_json()["consequence"] == rules.CONSEQUENCE
    assert rules.first_unmapped(verdicts) == verdicts[1]
    assert rules.tpu_cut(verdicts, cuts.enumerate_cuts(graph)).id == "op000"


REFUSED = [
    ("HARD_SWISH", {}, "use ReLU6, or swish"),
    ("LEAKY_RELU", {}, "shared_axes"),
    ("LOGISTIC", {"version": 4}, "version 4 is newer"),
    ("LOGISTIC", {"kind": "INT16"}, "works on int16"),
    ("LOGISTIC", {"shape": (2, 8, 8, 4)}, "3 innermost"),
    ("AVERAGE_POOL_2D", {"options": options_of("Pool2D", fusedActivationFunction=1)}, "activation fused"),
    ("SOFTMAX", {"shape": (1, 16_001)}, "at most 16,000"),
    ("SOFTMAX", {"shape": (1, 16, 4)}, "only one row"),
    ("MEAN", {"constants": [[0, 1]]}, "over the batch"),
    ("MEAN", {"constants": [[-1]], "shape": (1, 8, 8, 6)}, "multiple of 4"),
    ("SUM", {"constants": [[-4]]}, "over the batch"),
    ("PAD", {"constants": [[[1, 0], [0, 0], [0, 0], [0, 0]]]}, "pads the batch"),
    ("TRANSPOSE", {"constants": [[1, 0, 2, 3]]}, "moves the batch"),
    ("RESIZE_BILINEAR", {"constants": [[12, 12]], "output": (1, 12, 12, 4)}, "whole factor"),
    ("STRIDED_SLICE",
     {"constants": [[0] * 4, [1, 8, 8, 4], [1, 2, 2, 1]], "options": options_of("StridedSlice")}, "stride"),
    ("STRIDED_SLICE",
     {"constants": [[0] * 4, [1, 8, 8, 4], [1] * 4], "options": options_of("StridedSlice", newAxisMask=1)}, "new axis"),
    ("PACK", {"options": options_of("Pack", axis=0)}, "along the batch"),
    ("MIRROR_PAD", {"constants": [[[0, 0], [1, 1], [1, 1], [0, 0]]]}, "pad with zeros"),
]  # fmt: skip  # one limit a line


@pytest.mark.parametrize(
    ("name", "operator", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_limit_says_what_is_wrong(builder, name, operator, words):
    found = one(builder, name, **operator)

    assert not found.maps
    assert words in found.reason


ACCEPTED = [
    ("SOFTMAX", {"shape": (1, 16_000)}),
    ("MEAN", {"constants": [[1, 2]]}),
    ("MEAN", {"constants": [[3]]}),
    ("PAD", {"constants": [[[0, 0], [1, 1], [1, 1], [0, 0]]]}),
    ("TRANSPOSE", {"constants": [[0, 2, 1, 3]]}),
    ("RESIZE_BILINEAR", {"constants": [[16, 16]], "output": (1, 16, 16, 4)}),
    ("STRIDED_SLICE", {"constants": [[0] * 4, [1, 4, 4, 4], [1] * 4], "options": options_of("StridedSlice")}),
    ("PACK", {"options": options_of("Pack", axis=3)}),
    ("QUANTIZE", {"kind": "UINT8"}),
]


@pytest.mark.parametrize(("name", "operator"), ACCEPTED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_keeps_the_limits_maps(builder, name, operator):
    assert one(builder, name, **operator).reason is None


@pytest.mark.parametrize(
    ("name", "data", "filters", "words"),
    [("CONV_2D", PICTURE, (8, 1, 1, 2), "2 groups"), ("CONV_2D", PICTURE, (8, 1, 1, 4), None),
     ("FULLY_CONNECTED", (1, 4), (3, 4), None), ("FULLY_CONNECTED", (1, 6, 4), (3, 4), "1x1 convolution")],
)  # fmt: skip  # an operator with weights a line
def test_weights_are_judged(builder, name, data, filters, words):
    x, y = builder.tensor("x", data), builder.tensor("y", (*data[:-1], filters[0]))
    weights = builder.tensor("w", filters, data=np.ones(filters, np.int8))
    options = options_of("Conv2D" if name == "CONV_2D" else "FullyConnected")
    if name == "CONV_2D":
        options.dilationWFactor = options.dilationHFactor = 1
    builder.operator(name, (x, weights), (y,), options, options_type=type(options).__name__[:-1], version=3)
    reason = verdict(builder, (x,), (y,)).reason

    assert (words in reason) if words else reason is None


def test_dense_weights_with_a_scale_a_unit_do_not_map(builder):
    x, y = builder.tensor("x", (1, 4)), builder.tensor("y", (1, 3))
    weights = builder.tensor("w", (3, 4), data=np.ones((3, 4), np.int8))
    builder.tensors[weights].quantization.scale = [0.1, 0.2, 0.3]
    builder.operator("FULLY_CONNECTED", (x, weights), (y,), options_of("FullyConnected"), version=4,
                     options_type="FullyConnectedOptions")  # fmt: skip

    assert "3 scales" in verdict(builder, (x,), (y,)).reason


def test_weights_that_are_computed_do_not_map(builder):
    x, y, w = builder.tensor("x", (1, 4)), builder.tensor("y", (1, 4)), builder.tensor("w", (4, 4))
    builder.operator("FULLY_CONNECTED", (x, w), (y,), options_of("FullyConnected"), version=4,
                     options_type="FullyConnectedOptions")  # fmt: skip

    assert "must be a constant" in verdict(builder, (x, w), (y,)).reason


@pytest.mark.parametrize(("padding", "maps"), [(-5, True), (0, False)])
def test_joining_a_constant_maps_as_padding_with_zeros_only(builder, padding, maps):
    x, y = (builder.tensor(name, (1, 8, 8, c), zero_point=-5) for name, c in (("x", 4), ("y", 8)))
    constant = builder.tensor("c", PICTURE, zero_point=-5, data=np.full(PICTURE, padding, np.int8))
    builder.operator("CONCATENATION", (x, constant), (y,), options_of("Concatenation", axis=3), version=2,
                     options_type="ConcatenationOptions")  # fmt: skip

    assert verdict(builder, (x,), (y,)).maps == maps


@pytest.mark.parametrize(
    ("name", "operators"),
    [("tf2_mobilenet_v2_1.0_224_ptq.tflite", 68), ("mobilenet_v1_0.25_128_quant.tflite", 31),
     ("mobilenet_quant_v1_224_head_layers.tflite", 3)],
)  # fmt: skip  # a model a line
def test_models_that_google_compiled_map_whole(shared_data, name, operators):
    verdicts = rules.judge(flatgraph.read((shared_data / name).read_bytes()))

    assert len(verdicts) == operators
    assert rules.first_unmapped(verdicts) is None


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "mobilenet_quant_v1_224_feature_layers"])
def test_compiled_models_are_known_for_what_they_are(shared_data, name):
    assert rules.is_compiled(flatgraph.read((shared_data / f"{name}_edgetpu.tflite").read_bytes()))


def test_the_document_states_how_many_operators_are_judged(pytestconfig):
    text = (pytestconfig.rootpath / "docs" / "coral.md").read_text("utf-8")

    assert f"judges **{len(rules.RULES)} operators**" in text
