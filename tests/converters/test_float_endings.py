"""Integer `.tflite` files whose ending computes in float: it stays in the tail, whole."""

import numpy as np
import pytest
import ssd_models

from converters import convert, quantize
from tflsplit import errors
from tflsplit.decoding.forms import Form
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_a_detector_s_post_processing_stays_in_the_tail_and_every_cut_is_exact(in_this_process, tmp_path, kind):
    file = tmp_path / "ssd.tflite"
    file.write_bytes(ssd_models.detector(kind))
    made = convert.convert(file, tmp_path / "ssd.tflsplit", convert.Options(pairs="none"))

    assert made.manifest.decoding.form is Form.SSD
    assert [spec.dtype for spec in made.manifest.outputs] == ["float32"] * 4
    inner = made.cuts[1:-1]
    assert [cut.id for cut in inner] == ["op000", "op001", "op002"]
    assert {spec.dtype for cut in inner for spec in cut.boundary} == {kind.lower()}
    samples = verify.random_samples(made.manifest.inputs, 4)
    with Interpreter(made.model_bytes()) as whole:
        assert np.max([whole.run(*given)[2] for given in samples]) > 0.5
    assert verify.verify(made, made.cuts, samples).is_bit_exact


def test_an_ending_of_which_integers_are_made_again_is_none():
    model = ssd_models.detector(then="QUANTIZE")
    with pytest.raises(errors.ModelError, match="is float, expected int8 or uint8"):
        quantize.check_is_integer(flatgraph.read(model), "m.tflite")
