"""Float tails of converted models: where each cut lies in the float model, and what the unquantised half is worth."""

import pathlib

import numpy as np
import pytest

from converters import convert, quantize
from converters.float_model import matching, tails
from tflsplit import errors
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import quantise
from tflsplit.inputs.preprocessing import NAMED, PixelTable
from tflsplit.package import verify

DEMO = pathlib.Path(__file__).resolve().parents[3] / "tflsplit" / "demo"

pytestmark = pytest.mark.usefixtures("in_this_process")


def residual(k):
    """Two convolutions and the way around them; what is dense at the end has a softmax of its own operator."""
    picture = k.Input((12, 12, 3), name="picture")
    x = k.layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(picture)
    y = k.layers.Conv2D(6, 3, padding="same", name="inner")(x)
    x = k.layers.ReLU(name="out")(k.layers.Add(name="add")([x, y]))
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    return k.Model(picture, k.layers.Dense(4, activation="softmax", name="scores")(x))


@pytest.fixture
def digits():
    with np.load(DEMO / "digits.npz") as data:
        return {name: data[name] for name in data.files}


@pytest.fixture
def convert_digits(digits, tmp_path):
    """Converts the demo's model with its own calibration pictures."""
    np.save(tmp_path / "calibration.npy", digits["calibration"])

    def convert_digits(**options):
        chosen = convert.Options(
            calibration=tmp_path / "calibration.npy", preprocessing=NAMED["unit"], pairs="none", **options
        )
        return convert.convert(DEMO / "digits.h5", tmp_path / "digits.tflsplit", chosen)

    return convert_digits


def classes(package, cut, pictures, *, tail):
    """The class that head and tail give to each picture."""
    table = PixelTable(package.manifest.preprocessing, package.manifest.inputs[0])
    with Interpreter(package.head_bytes(cut)) as first, Interpreter(tail) as second:
        return np.array([second.run(*first.run(table.apply(one)[None]))[0].argmax() for one in pictures])


def test_every_cut_of_a_residual_model_has_a_proven_float_tail(keras, saved, tmp_path):
    path = saved(residual(keras), "residual.keras")
    options = convert.Options(tail="float32", pairs="all", preprocessing=NAMED["unit"])
    made = convert.convert(path, tmp_path / "residual.tflsplit", options)
    report = verify.verify(made, made.cuts, verify.random_samples(made.manifest.inputs, 3))

    assert report.holds
    assert made.served_cuts == made.cuts
    assert [len(cut.boundary) for cut in made.cuts if cut.layer == "inner" or len(cut.boundary) > 1] == [2]
    assert set(made.manifest.float_tails.fidelity) == {cut.id for cut in made.cuts[:-1]}
    assert min(entry.sqnr_db for (entry,) in made.manifest.float_tails.fidelity.values()) > 20


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_what_is_only_quantised_anew_keeps_its_counterpart(load_built, samples, io_dtype):
    model = load_built(residual)
    integer = quantize.quantise(model, samples(model), io_dtype=io_dtype)
    graph = flatgraph.read(integer)
    made = tails.make(model, integer, cuts.enumerate_cuts(graph), samples(model))
    entry = made.described.counterparts["input"]

    assert made.described.problems == {}
    assert all(
        made.described.counterparts[cuts.cut_id(operator.index + 1, len(graph.operators))] == entry
        for operator in graph.operators[:1]
        if operator.name == "QUANTIZE"
    )


def test_a_tensor_of_the_same_name_that_does_not_track_is_no_counterpart(load_built, samples, keras):
    model, inputs = load_built(residual), samples(load_built(residual))
    integer = quantize.quantise(model, inputs)
    other = load_built(lambda k: scaled(residual(k)))
    found = matching.find(integer, quantize.unquantised(other, quantize.quantise(other, inputs)), inputs)
    graph = flatgraph.read(integer)
    inner = next(operator.outputs[0] for operator in graph.operators if operator.index == 1)

    assert found[graph.inputs[0]].tensor is not None
    assert found[inner].tensor is None
    assert "comes nearest" in found[inner].reason


def scaled(model):
    """The same layers under the same names, with weights that turn everything around."""
    model.set_weights([-3 * weights for weights in model.get_weights()])
    return model


def test_a_cut_without_counterpart_is_refused_where_asked_for_and_told_where_not(keras, saved, tmp_path, monkeypatch):
    path = saved(residual(keras), "residual.keras")
    find = matching.find
    lost = matching.Counterpart(None, 3.0, "fused differently")
    monkeypatch.setattr(
        matching,
        "find",
        lambda integer, *given: find(integer, *given) | {flatgraph.read(integer).operators[0].outputs[0]: lost},
    )
    made = convert.convert(path, tmp_path / "all.tflsplit", convert.Options(tail="float32", pairs="all"))

    assert set(made.manifest.float_tails.problems) == {"op000", "op001"}
    assert made.file(made.cut("op000"), "head") is None
    options = convert.Options(tail="float32", split_at=("op000",))
    with pytest.raises(
        errors.CutError, match=r"cut op000 has no float tail: .* has no counterpart \(fused differently"
    ):
        convert.convert(path, tmp_path / "one.tflsplit", options)


def test_what_came_quantised_has_no_float_weights_and_keeps_its_types(residual_model, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(residual_model)

    with pytest.raises(errors.ModelError, match="came quantised and has no float weights for float32 tails"):
        convert.convert(path, tmp_path / "p.tflsplit", convert.Options(tail="float32"))
    with pytest.raises(errors.ModelError, match="'x' is int8, uint8 was asked for"):
        convert.convert(path, tmp_path / "p.tflsplit", convert.Options(io="uint8"))
    assert convert.convert(path, tmp_path / "p.tflsplit", convert.Options(io="int8")).manifest.float_tails is None


@pytest.mark.parametrize("changes", [{"tail": "float16"}, {"io": "int16"}])
def test_types_that_are_not_offered_are_refused(changes):
    with pytest.raises(errors.SettingsError, match="expected one of"):
        convert.Options(**changes)


def test_held_out_digits_are_read_as_well_with_float_tails_as_with_int8_ones(convert_digits, digits, capsys):
    made = convert_digits(tail="float32")
    pictures, labels = digits["test_images"], digits["test_labels"]
    cut = made.cut("narrow_relu")
    tail_of = {"int8/int8": made.integer_tail_bytes(cut), "int8/float32": made.tail_bytes(cut)}
    found = {name: classes(made, cut, pictures, tail=tail) for name, tail in tail_of.items()}
    found["float32"] = classes(made, made.cuts[0], pictures, tail=made.tail_bytes(made.cuts[0]))
    right = {name: int(np.sum(one == labels)) for name, one in found.items()}
    with capsys.disabled():
        print(f"\nof {len(labels)} held-out digits right: {right}")

    assert min(right.values()) >= 0.97 * len(labels)
    assert np.mean(found["int8/float32"] == found["float32"]) >= 0.99


def test_unsigned_models_take_pixels_and_are_as_exact(convert_digits, digits):
    made = convert_digits(io="uint8", tail="float32")
    (entry,), (scores,) = made.manifest.inputs, made.manifest.outputs
    pictures = digits["test_images"][:20]
    samples = [(PixelTable(NAMED["unit"], entry).apply(one)[None],) for one in pictures]

    assert (entry.dtype, scores.dtype) == ("uint8", "uint8")
    assert np.array_equal(samples[0][0], quantise(NAMED["unit"].to_real(pictures[:1]), entry))
    assert made.graph.operators[0].name == "QUANTIZE"
    for inputs in (samples, verify.random_samples(made.manifest.inputs, 3)):
        assert verify.verify(made, made.cuts, inputs).holds
    with Interpreter(made.model_bytes()) as whole:
        found = [int(whole.run(*sample)[0].argmax()) for sample in samples]
    assert found == digits["test_labels"][:20].tolist()
