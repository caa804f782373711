"""Float `.tflite` files become models with float32 weights, whatever type the file keeps them in."""

import pathlib

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from converters import quantize, unquantised
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.normal(0, 1, (3, 8)).astype(np.float32)
M = pathlib.Path("m.tflite")


def _dense(builder, weights: int) -> bytes:
    x = builder.tensor("x", (1, 8), scale=None, kind="FLOAT32")
    y = builder.tensor("y", (1, 3), scale=None, kind="FLOAT32")
    options = schema.FullyConnectedOptionsT()
    builder.operator(
        "FULLY_CONNECTED", (x, weights, -1), (y,), options, options_type="FullyConnectedOptions", version=3
    )
    return builder.build((x,), (y,))


@pytest.fixture
def plain():
    builder = tiny_models.Builder()
    return _dense(builder, builder.tensor("w", (3, 8), scale=None, data=WEIGHTS, kind="FLOAT32"))


@pytest.fixture
def dynamic_range():
    builder = tiny_models.Builder()
    stored = np.clip(np.rint(WEIGHTS / 0.03), -127, 127).astype(np.int8)
    return _dense(builder, builder.tensor("w", (3, 8), scale=0.03, data=stored))


def test_a_float_file_is_told_from_an_integer_one(plain, dynamic_range, residual_model):
    assert unquantised.is_float(flatgraph.read(plain))
    assert unquantised.is_float(flatgraph.read(dynamic_range))
    assert not unquantised.is_float(flatgraph.read(residual_model))


def test_weights_of_a_dynamic_range_file_become_float(dynamic_range):
    model = unquantised.load(M, dynamic_range)
    assert not {tensor.type_name for tensor in flatgraph.read(model.data).tensors} - {"float32"}
    given = RANDOM.normal(0, 1, (5, 8)).astype(np.float32)
    (found,) = model.predict((given,))
    np.testing.assert_allclose(found, given @ WEIGHTS.T, atol=0.3)


def test_weights_in_a_type_that_cannot_be_read_are_refused_by_name(builder):
    w = builder.tensor("w", (3, 8), scale=0.1, data=np.zeros(12, np.int8), kind="INT4")
    with pytest.raises(errors.ModelError, match="weights 'w' are int4, which cannot be read"):
        unquantised.load(M, _dense(builder, w))


def test_it_is_quantised_to_int8_throughout_and_follows_the_float_values(plain):
    model = unquantised.load(M, plain)
    samples = (RANDOM.normal(0, 1, (64, 8)).astype(np.float32),)
    data = quantize.quantise(model, samples)
    graph = flatgraph.read(data)
    assert {graph.tensors[index].type_name for index in (*graph.inputs, *graph.outputs)} == {"int8"}
    (expected,) = model.predict(samples)
    with Interpreter(data) as opened:
        x, y = opened.inputs[0], opened.outputs[0]
        stored = np.clip(np.rint(samples[0] / x.scale) + x.zero_point, -128, 127).astype(np.int8)
        found = np.concatenate(
            [(opened.run(row[None])[0].astype(np.float32) - y.zero_point) * y.scale for row in stored]
        )
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_public_float_file_converts_with_every_cut_exact(shared_data, tmp_path):
    import tflsplit

    source = shared_data / "models" / "mlc_resnet_float.tflite"
    calibration = RANDOM.integers(0, 256, (32, 32, 32, 3)).astype(np.float32)
    made = tflsplit.convert(source, tmp_path / "m.tflsplit", calibration=calibration, preprocessing="raw", pairs="none")
    assert tflsplit.verify(made.path).is_bit_exact
    assert len(made.cuts) == 17
    assert made.manifest.fidelity[0].sqnr_db > 10
    assert "ai-edge-quantizer" in made.manifest.created_with


def test_what_pytorch_exported_converts_as_the_page_about_it_says(tmp_path):
    """tests/converters/digits_torch.tflite is what examples/pytorch/export.py wrote."""
    import tflsplit

    with np.load(CHECKOUT / "tflsplit" / "demo" / "digits.npz") as digits:
        pictures = digits["calibration"]
    source = CHECKOUT / "tests" / "converters" / "digits_torch.tflite"
    made = tflsplit.convert(source, tmp_path / "m.tflsplit", calibration=pictures, preprocessing="unit")
    page = (CHECKOUT / "docs" / "pytorch.md").read_text("utf-8")

    assert f"{len(made.cuts)} cuts x 8 samples: bit-exact" in page
    assert tflsplit.verify(made.path).is_bit_exact
    assert made.cut("op011").payload_bytes == 32
    assert made.manifest.fidelity[0].sqnr_db > 30


def test_what_has_no_int8_form_is_named_with_its_tensor(builder):
    x = builder.tensor("x", (1, 8), scale=None, kind="FLOAT32")
    axis = builder.tensor("axis", (), scale=None, data=np.array(1, np.int32), kind="INT32")
    y = builder.tensor("sums", (1, 8), scale=None, kind="FLOAT32")
    builder.operator("CUMSUM", (x, axis), (y,), schema.CumsumOptionsT(), options_type="CumsumOptions")
    model = unquantised.load(M, builder.build((x,), (y,)))
    with pytest.raises(errors.ModelError, match=r"leaves CUMSUM \(tensor 'sums'\) in float; convert the Keras model"):
        quantize.quantise(model, (np.ones((2, 8), np.float32),))
