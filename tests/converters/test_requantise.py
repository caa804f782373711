"""A uint8 model becomes int8: the same ranges, weights with a scale for each channel, and what it costs measured."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import tflsplit
from converters import requantise
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter

RANDOM = np.random.default_rng(7)


def _uint8_model(builder) -> bytes:
    """x → CONV_2D (a quiet and a loud channel, one of zeros) → CONCATENATION with x, in another scale."""
    x = builder.tensor("x", (1, 4, 4, 2), scale=0.05, zero_point=120, kind="UINT8")
    weights = RANDOM.integers(120, 137, (3, 3, 3, 2), dtype=np.uint8)  # around its zero point, 128
    weights[1] = RANDOM.integers(0, 256, (3, 3, 2), dtype=np.uint8)
    weights[1, 0, 0, 0], weights[2] = 0, 128
    w = builder.tensor("w", weights.shape, scale=0.01, zero_point=128, data=weights, kind="UINT8")
    b = builder.tensor("b", (3,), scale=0.0005, data=np.array([100, -4000, 70], np.int32), kind="INT32")
    convolved = builder.tensor("convolved", (1, 4, 4, 3), scale=0.08, zero_point=100, kind="UINT8")
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    builder.operator("CONV_2D", (x, w, b), (convolved,), options, options_type="Conv2DOptions")
    joined = builder.tensor("joined", (1, 4, 4, 5), scale=0.08, zero_point=100, kind="UINT8")
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    builder.operator("CONCATENATION", (convolved, x), (joined,), options, options_type="ConcatenationOptions")
    return builder.build((x,), (joined,))


def test_every_tensor_is_int8_with_the_ranges_it_had(builder):
    data = _uint8_model(builder)
    made = requantise.requantise(data, name="m.tflite")
    graph = flatgraph.read(made.data)
    kinds = {graph.tensors[index].type_name for operator in graph.operators for index in operator.outputs}
    assert kinds == {"int8"}
    (x,) = graph.specs(graph.inputs)
    assert (x.scale, x.zero_point) == (np.float32(0.05), 120 - 128)
    assert [operator.name for operator in graph.operators] == ["CONV_2D", "QUANTIZE", "CONCATENATION"]


def test_results_stay_within_a_step_and_channels_that_fit_keep_their_weights(builder):
    data = _uint8_model(builder)
    made = requantise.requantise(data, name="m.tflite").data
    graph = flatgraph.read(made)
    weights = graph.operators[0].inputs[1]
    stored = graph.source.subgraphs[0].tensors[weights].quantization
    assert [round(float(scale), 6) for scale in stored.scale] == [0.01, round(1.28 / 127, 6), 0.01]
    with Interpreter(data) as old, Interpreter(made) as new:
        for _ in range(20):
            given = RANDOM.integers(0, 256, (1, 4, 4, 2), dtype=np.uint8)
            before = old.run(given)[0].astype(int) - 128
            after = new.run((given ^ 128).view(np.int8))[0]
            steps = np.abs(before - after)
            assert steps[..., [0, 2, 3, 4]].max() <= 1
            assert steps.max() <= 3  # the loud channel's 18 weights are rounded anew


def test_a_dense_layer_has_one_scale_where_the_edge_tpu_wants_one(builder):
    x = builder.tensor("x", (1, 8), scale=0.1, zero_point=128, kind="UINT8")
    weights = RANDOM.integers(0, 256, (4, 8), dtype=np.uint8)
    w = builder.tensor("w", (4, 8), scale=0.02, zero_point=110, data=weights, kind="UINT8")
    y = builder.tensor("y", (1, 4), scale=0.3, zero_point=128, kind="UINT8")
    options = schema.FullyConnectedOptionsT()
    builder.operator("FULLY_CONNECTED", (x, w, -1), (y,), options, options_type="FullyConnectedOptions")
    data = builder.build((x,), (y,))
    for per_tensor, count in ((True, 1), (False, 4)):
        graph = flatgraph.read(requantise.requantise(data, name="m", per_tensor_dense=per_tensor).data)
        assert graph.tensors[graph.operators[0].inputs[1]].scale_count == count


def test_a_model_that_is_not_uint8_is_refused_with_what_it_is(residual_model):
    with pytest.raises(errors.ModelError, match="computes in int8, and --requantise makes int8 of uint8"):
        requantise.requantise(residual_model, name="m.tflite")


def test_weights_that_are_computed_are_refused_by_name(builder):
    x = builder.tensor("x", (1, 2, 2, 1), scale=0.1, kind="UINT8")
    w = builder.tensor("w", (1, 1, 1, 1), scale=0.1, kind="UINT8")
    y = builder.tensor("y", (1, 2, 2, 1), scale=0.1, kind="UINT8")
    builder.operator("CONV_2D", (x, w, -1), (y,), schema.Conv2DOptionsT(), options_type="Conv2DOptions")
    with pytest.raises(errors.ModelError, match=r"operator 0 \(CONV_2D\) computes its own weights"):
        requantise.requantise(builder.build((x, w), (y,)), name="m.tflite")


def test_public_models_keep_their_answers_on_a_picture_and_say_what_it_cost(shared_data, tmp_path):
    made = tflsplit.convert(
        shared_data / "mobilenet_v1_0.25_128_quant.tflite",
        tmp_path / "m.tflsplit",
        requantise=True,
        pairs="none",
        calibration=_folder_with(shared_data / "parrot.jpg", tmp_path),
    )
    (fidelity,) = made.manifest.fidelity
    assert fidelity.top1_agreement == 1.0
    assert fidelity.sqnr_db is None  # over one picture nothing varies
    assert "uint8 became int8" in made.manifest.rewrites[-1]
    assert {spec.dtype for cut in made.cuts for spec in cut.boundary} == {"int8"}
    assert tflsplit.verify(made.path).is_bit_exact


def test_it_is_for_files_that_came_quantised(tmp_path):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(errors.SettingsError, match=r"requantise=True is for a uint8 \.tflite"):
        tflsplit.convert(tmp_path / "m.h5", tmp_path / "m.tflsplit", requantise=True)


def _folder_with(picture, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / picture.name).write_bytes(picture.read_bytes())
    return folder
