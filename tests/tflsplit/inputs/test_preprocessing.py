import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflsplit import errors
from tflsplit.graph.tensors import TensorSpec, dequantise, quantise
from tflsplit.inputs import preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(preprocessing.NAMED))
@pytest.mark.parametrize("spec", [TensorSpec("x", (1,), "int8", 0.02, -3), TensorSpec("x", (1,), "uint8", 0.5, 100)])
def test_the_pixel_table_is_exactly_preprocess_then_quantise(name, spec):
    named = preprocessing.NAMED[name]
    table = preprocessing.PixelTable(named, spec)

    assert np.array_equal(table.apply(PIXELS), quantise(named.to_real(PIXELS), spec))


def test_symmetric_is_minus_one_to_one_and_caffe_swaps_colours():
    assert preprocessing.NAMED["symmetric"].real_range() == (-1.0, 1.0)
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert np.allclose(preprocessing.NAMED["caffe"].to_real(red)[0, 0], [-103.939, -116.779, 255 - 123.68])


def test_a_stated_scale_and_offset_is_taken():
    assert preprocessing.parse("0.5,-2").to_real(np.array([[[4]]], np.uint8)) == 0.0


@pytest.mark.parametrize("text", ["tf", "1", "1,2,3", "nan,0", "0,1", ""])
def test_what_is_no_preprocessing_is_refused(text):
    with pytest.raises(errors.SettingsError):
        preprocessing.parse(text)


@given(st.integers(-128, 127), st.sampled_from([0.003921569, 0.5, 17.0]), st.integers(-128, 127))
def test_stored_values_survive_dequantise_and_quantise(stored, scale, zero_point):
    spec = TensorSpec("x", (1,), "int8", float(np.float32(scale)), zero_point)
    array = np.array([stored], np.int8)

    assert np.array_equal(quantise(dequantise(array, spec), spec), array)
