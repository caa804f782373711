"""What can be known before the model is quantised is refused before."""

import copy

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters import convert, pipeline, refusals
from tflsplit import errors
from tflsplit.graph import flatgraph


@pytest.fixture
def model(keras, saved):
    return saved(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="last")]), "m.keras")


@pytest.fixture
def nothing_heavy(monkeypatch, in_this_process):
    def quantise(*_, **__):
        raise AssertionError("was quantised all the same")

    monkeypatch.setattr(pipeline.quantize, "quantise", quantise)


@pytest.fixture
def nothing_loaded(monkeypatch):
    def run(*_, **__):
        raise AssertionError("was loaded all the same")

    monkeypatch.setattr(convert.child, "run", run)


KNOWN_OF_THE_MODEL = {
    "labels": ({"labels": ("a", "b")}, r"2 labels, the model's output has 3 classes"),
    "layer": ({"split_at": ("lst",)}, r"no cut or layer 'lst' in this model; did you mean last"),
}


@pytest.mark.parametrize(("options", "words"), KNOWN_OF_THE_MODEL.values(), ids=KNOWN_OF_THE_MODEL)
def test_what_the_loaded_model_says_is_refused_before_it_is_quantised(model, nothing_heavy, tmp_path, options, words):
    with pytest.raises(errors.TflsplitError, match=words):
        convert.convert(model, tmp_path / "m.tflsplit", convert.Options(**options))
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


UNFIT = {
    "plain number": (1, None, ("a",), "1 label, the model's output is a plain number, which has none"),
    "one of two": (
        1,
        "sigmoid",
        ("a",),
        "1 label, the model's output has 2 classes; .*, first the one of values below",
    ),
    "several": (4, "sigmoid", ("a", "b"), "2 labels, the model's output has 4 classes"),
    "softmax": (3, "softmax", ("a", "b"), "2 labels, the model's output has 3 classes"),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.usefixtures("nothing_heavy")
def test_labels_that_do_not_fit_the_output_are_refused_before_it_is_quantised(keras, saved, tmp_path, case):
    units, activation, labels, words = UNFIT[case]
    layers = [keras.Input((5,)), keras.layers.Dense(units, activation=activation)]
    path = saved(keras.Sequential(layers), "m.keras")
    with pytest.raises(errors.DataError, match=f"^l.txt: {words}"):
        convert.convert(path, tmp_path / "m.tflsplit", convert.Options(labels=labels, labels_name="l.txt"))


@pytest.mark.parametrize(
    ("labels", "counts"),
    [(("a", "b"), [2]), (("a",) * 4, [None]), (("a", "b"), [0, 2]), ((), [3]), (("a",) * 80, [0, None])],
)
def test_labels_that_fit_or_cannot_be_told_pass(labels, counts):
    refusals.check_labels(labels, counts, "labels")


@pytest.mark.parametrize("name", ["last", "input", "output", "edgetpu", "op000", "m/last/BiasAdd", "x:0"])
def test_what_may_be_a_cut_is_left_to_the_graph(model, name):
    loaded = pipeline.formats.load(model)
    refusals.before_quantising(loaded, convert.Options(labels=("a", "b", "c"), split_at=(name,)))


def absent(folder):
    return folder / "absent.npy"


def of_another_kind(folder):
    (folder / "data.doc").touch()
    return folder / "data.doc"


def without_pictures(folder):
    (folder / "data").mkdir()
    return folder / "data"


@pytest.mark.parametrize("make", [absent, of_another_kind, without_pictures], ids=lambda make: make.__name__)
def test_calibration_that_cannot_be_is_refused_before_anything_is_loaded(nothing_loaded, tmp_path, make):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(errors.DataError, match=r"data|absent"):
        convert.convert(tmp_path / "m.h5", tmp_path / "m.tflsplit", convert.Options(calibration=make(tmp_path)))


def test_missing_calibration_that_is_required_is_refused_before_anything_is_loaded(nothing_loaded, tmp_path):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(errors.DataError, match="--require-calibration"):
        convert.convert(tmp_path / "m.h5", tmp_path / "m.tflsplit", convert.Options(requires_calibration=True))


def test_what_is_no_model_is_refused_before_anything_is_loaded(nothing_loaded, tmp_path):
    np.save(tmp_path / "m.npy", np.zeros(4))
    with pytest.raises(errors.ModelError, match=r"m\.npy: a NumPy array; give the model"):
        convert.convert(tmp_path / "m.npy", tmp_path / "m.tflsplit", convert.Options())


def test_a_file_of_several_models_is_refused_by_their_signatures(residual_model):
    source = schema.ModelT.InitFromPackedBuf(bytearray(residual_model))
    source.subgraphs.append(source.subgraphs[0])
    source.signatureDefs = []
    for place, name in enumerate((b"encode", b"decode")):
        signature = schema.SignatureDefT()
        signature.subgraphIndex, signature.signatureKey, signature.inputs, signature.outputs = place, name, [], []
        source.signatureDefs.append(signature)
    with pytest.raises(errors.ModelError, match=r"m\.tflite: holds 2 models, by their signatures encode, decode"):
        refusals.check_is_one_model(flatgraph.read(flatgraph.pack(source)), "m.tflite")
    source.signatureDefs.pop()
    refusals.check_is_one_model(flatgraph.read(flatgraph.pack(source)), "m.tflite")


@pytest.mark.parametrize(
    ("name", "said"), [("WHILE", "a loop in float.*unrolled"), ("IF", "a choice in float.*branch")]
)
def test_loops_and_choices_in_float_are_refused_with_the_way_out(builder, name, said):
    x = builder.tensor("x", (1,), scale=None, kind="BOOL")
    y = builder.tensor("y", (1, 4), scale=None, kind="FLOAT32")
    options = getattr(schema, f"{name.title()}OptionsT")()
    builder.operator(name, (x,), (y,), options, options_type=f"{name.title()}Options")
    source = schema.ModelT.InitFromPackedBuf(bytearray(builder.build((x,), (y,))))
    source.subgraphs.append(copy.deepcopy(source.subgraphs[0]))
    source.subgraphs[1].operators = []
    graph = flatgraph.Graph(flatgraph.read(builder.build((x,), (y,))).operators, (), (), (), source)
    with pytest.raises(errors.ModelError, match=rf"m\.tflite: operator 0 \({name}\) is {said}"):
        refusals.check_has_no_branches(graph, "m.tflite")
    source.subgraphs.pop()
    refusals.check_has_no_branches(graph, "m.tflite")
