"""A file means the same to calibration and to the edge: the same stored integers, or refused by both."""

import itertools
import zipfile

import numpy as np
import pytest
import tiny_models
from PIL import Image

from converters.calibration import samples
from converters.loading.inputs import Input
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.graph.tensors import TensorSpec, quantise
from tflsplit.inputs.preprocessing import NAMED

SHAPES = {"picture": (1, 4, 6, 3), "grey": (1, 4, 6, 1), "flat": (1, 28, 28), "sound": (1, 49, 10, 2), "row": (1, 5)}
TYPES = ("uint8", "int8", "int16", "uint16", "int32", "int64", "bool", "float16", "float32", "float64", ">f4")
COUNT = 3


def manifest_of(specs, preprocessing):
    model = tiny_models.residual_model()
    return tiny_models.describe(model, inputs=tuple(specs), preprocessing=preprocessing)


def specs_of(shapes, dtype="int8"):
    zero_point = 3 if dtype == "int8" else 131
    return [TensorSpec(name, shape, dtype, 0.05, zero_point) for name, shape in shapes.items()]


def calibrated(path, specs, preprocessing):
    """What the converter takes, quantised as the model will be; or that it was refused."""
    entries = [Input(spec.name, spec.shape, "float32" if spec.is_quantised else spec.dtype) for spec in specs]
    try:
        found = samples.read(path, entries, preprocessing)
    except errors.DataError as refused:
        return str(refused)
    return [quantise(array, spec) for array, spec in zip(found, specs, strict=True)]


def streamed(path, specs, preprocessing):
    try:
        rows = [taken.arrays for taken in frames.open_source(str(path), manifest_of(specs, preprocessing)).inputs()]
    except errors.DataError as refused:
        return str(refused)
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def agree(path, specs, preprocessing):
    """The stored integers or the refusal, which must be one and the same."""
    there, here = calibrated(path, specs, preprocessing), streamed(path, specs, preprocessing)
    if isinstance(there, str) or isinstance(here, str):
        assert there == here
    else:
        assert [array.dtype for array in there] == [array.dtype for array in here]
        assert all(np.array_equal(one, other) for one, other in zip(there, here, strict=True))
    return here


def data(shape, dtype, seed=0):
    drawn = np.random.default_rng(seed).uniform(0, 120, (COUNT, *shape))
    return drawn.astype(dtype)


@pytest.mark.parametrize(
    ("shape", "dtype", "name"),
    # int8 for an int8 model is the one difference: before there is a model, there are no stored integers.
    [each for each in itertools.product(SHAPES, TYPES, (*NAMED, "none")) if each[1] != "int8"],
)
def test_arrays_of_every_type_shape_and_preprocessing(tmp_path, shape, dtype, name):
    preprocessing = NAMED.get(name)
    extents = SHAPES[shape]
    np.save(tmp_path / "a.npy", data(extents[1:], dtype))
    found = agree(tmp_path / "a.npy", specs_of({"x": extents}), preprocessing)

    is_pixels = dtype == "uint8" and shape in ("picture", "grey") and preprocessing is not None
    if dtype == "uint8" and not is_pixels:
        assert "uint8 data for input 'x'" in found
    elif is_pixels and len(preprocessing.scale) == 3 and shape == "grey":
        assert "for 3 channels" in found
    else:
        real = data(extents[1:], dtype)
        expected = preprocessing.to_real(real) if is_pixels else real.astype(np.float32)
        assert np.array_equal(found[0], quantise(expected, specs_of({"x": extents})[0]).reshape(found[0].shape))


def test_integers_as_stored_are_taken_by_a_model_and_refused_before_there_is_one(tmp_path):
    np.save(tmp_path / "a.npy", data((5,), "int8"))
    specs = specs_of({"x": (1, 5)})

    assert np.array_equal(streamed(tmp_path / "a.npy", specs, None)[0], data((5,), "int8"))
    assert "could be stored integers or real values" in calibrated(tmp_path / "a.npy", specs, None)
    (real,) = samples.read_quantised(tmp_path / "a.npy", specs, None)
    assert np.array_equal(quantise(real, specs[0]), data((5,), "int8"))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_numbers_that_are_not_finite(tmp_path, wrong, dtype):
    rows = np.zeros((COUNT, 5))
    rows[1, 2] = wrong
    np.save(tmp_path / "a.npy", rows)

    assert "NaN or infinite" in agree(tmp_path / "a.npy", specs_of({"x": (1, 5)}, dtype), None)


@pytest.mark.parametrize(
    ("row_shape", "shape", "fits"),
    [
        ((4, 6), (1, 4, 6, 1), True),
        ((1, 4, 6, 3), (1, 4, 6, 3), True),
        ((5,), (1, 1, 5), True),
        ((), (1, 1), True),
        ((6, 4, 3), (1, 4, 6, 3), False),
        ((72,), (1, 4, 6, 3), False),
        ((), (1, 5), False),
    ],
)
def test_axes_of_one_may_be_left_out_and_no_others(tmp_path, row_shape, shape, fits):
    np.save(tmp_path / "a.npy", data(row_shape, "float32"))
    found = agree(tmp_path / "a.npy", specs_of({"x": shape}), None)

    assert isinstance(found, list) if fits else "found shape" in found


def test_ids_are_whole_numbers(tmp_path):
    spec = TensorSpec("ids", (1, 4), "int32")
    for name, values, words in (
        ("whole", [[1.0, 2, 3, 40000]], None),
        ("half", [[1.5, 2, 3, 4]], "not int32"),
        ("nan", [[np.nan, 2, 3, 4]], "not int32"),
        ("large", [[2.0**40, 2, 3, 4]], "not int32"),
    ):
        np.save(tmp_path / f"{name}.npy", np.array(values))
        found = agree(tmp_path / f"{name}.npy", [spec], None)
        assert found[0].tolist() == values if words is None else words in found


A, B = data((5,), "float32", 1), data((5,), "float32", 2)
TWO = {"left_eye": (1, 5), "input_1": (1, 5)}
ARCHIVES = {
    "by name": ({"input_1": B, "left_eye": A}, True),
    "as the layers are called": ({"input.1": B, "left-eye": A}, True),
    "numbered by numpy": ({"arr_1": B, "arr_0": A}, True),
    "labels beside them": ({"labels": np.arange(9), "left_eye": A, "input_1": B}, True),
    "one fits": ({"left_eye": A, "right_eye": B}, False),
    "none fits": ({"a": A, "b": B}, False),
    "one is missing": ({"left_eye": A}, False),
    "numbered, too many": ({"arr_0": A, "arr_1": B, "arr_2": B}, False),
    "punctuation does not tell apart": ({"left-eye": A, "left.eye": A, "input_1": B}, False),
}


@pytest.mark.parametrize(("arrays", "fits"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_go_by_name(tmp_path, arrays, fits):
    np.savez(tmp_path / "a.npz", **arrays)
    specs = specs_of(TWO)
    found = agree(tmp_path / "a.npz", specs, None)

    if fits:
        assert [one.tolist() for one in found] == [quantise(A, specs[0]).tolist(), quantise(B, specs[1]).tolist()]
    else:
        assert f"holds arrays {', '.join(arrays)}; expected one for each input: left_eye, input_1" in found


def test_an_archive_of_one_array_goes_by_name_too(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=A)
    assert "holds arrays x_train" in agree(tmp_path / "a.npz", specs_of({"x": (1, 5)}), None)
    np.savez(tmp_path / "a.npz", A)
    assert isinstance(agree(tmp_path / "a.npz", specs_of({"x": (1, 5)}), None), list)


def test_what_stands_beside_the_inputs_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", left_eye=A, labels=np.array(["cat", None, "dog"], object), input_1=B)
    assert isinstance(agree(tmp_path / "a.npz", specs_of(TWO), None), list)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("readme.txt", "cats and dogs")
    assert isinstance(agree(tmp_path / "a.npz", specs_of(TWO), None), list)


def test_an_archive_of_nothing_names_the_inputs(tmp_path):
    np.savez(tmp_path / "a.npz")
    assert "holds arrays none; expected one for each input: left_eye" in agree(tmp_path / "a.npz", specs_of(TWO), None)


def test_pixels_that_the_preprocessing_cannot_take_are_no_pixels_to_an_edge_that_sends_them(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    specs = specs_of({"x": SHAPES["grey"]})
    assert "is for 3 channels, input 'x' has 1" in agree(tmp_path / "a.png", specs, NAMED["torch"])
    with pytest.raises(errors.DataError, match="is for 3 channels, input 'x' has 1"):
        frames.open_source(str(tmp_path / "a.png"), manifest_of(specs, NAMED["torch"]), as_pixels=True)


def test_arrays_of_different_lengths(tmp_path):
    np.savez(tmp_path / "a.npz", left_eye=A, input_1=B[:2])
    assert "[2, 3] samples" in agree(tmp_path / "a.npz", specs_of(TWO), None)


TABLES = {
    "plain": (b"1,2,3,4,5\n6,7,8,9,0\n", True),
    "header, mark, CRLF, empty rows": (b"\xef\xbb\xbfa,b,c,d,e\r\n1,2,3,4,5\r\n6,7,8,9,0\r\n\r\n,,,,\r\n", True),
    "no end of line": (b"1,2,3,4,5\n6,7,8,9,0", True),
    "a label beside": (b"1,2,3,4,5,cat\n", False),
    "nan": (b"1,2,3,4,nan\n", False),
    "semicolons": (b"1;2;3;4;5\n", False),
    "UTF-16": ("1,2,3,4,5\n".encode("utf-16"), False),
    "nothing": (b"", False),
    "grouped digits": (b"1_0,2,3,4,5\n", False),
}


@pytest.mark.parametrize(("text", "fits"), TABLES.values(), ids=TABLES)
def test_tables(tmp_path, text, fits):
    (tmp_path / "a.csv").write_bytes(text)
    specs = specs_of({"x": (1, 5)})
    found = agree(tmp_path / "a.csv", specs, NAMED["unit"])

    if fits:
        assert np.array_equal(found[0], quantise(np.float32([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]), specs[0]))
    else:
        assert str(tmp_path / "a.csv") in found


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_marks_is_told_of_them(tmp_path, mark):
    (tmp_path / "a.csv").write_text(mark.join("12345") + "\n")
    assert f"its numbers are parted by {mark!r}; part them by commas" in agree(
        tmp_path / "a.csv", specs_of({"x": (1, 5)}), NAMED["unit"]
    )


@pytest.mark.parametrize("name", [*NAMED, "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_folder_of_pictures(tmp_path, shape, name):
    random = np.random.default_rng(0)
    for file, mode in (("a.png", "RGB"), ("b.jpg", "L"), ("c.tiff", "RGBA"), ("d.bmp", "1")):
        pixels = random.integers(0, 256, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(tmp_path / file)
    (tmp_path / "labels.txt").write_text("cat")
    found = agree(tmp_path, specs_of({"x": SHAPES[shape]}), NAMED.get(name))

    takes_any = shape == "picture" or (shape == "grey" and name not in ("torch", "caffe"))
    assert isinstance(found, list) == (takes_any and name != "none")


@pytest.mark.parametrize("name", ["a.dat", "none.npy", "a.NPY"])
def test_files_of_no_or_another_kind(tmp_path, name):
    (tmp_path / "a.dat").write_bytes(b"x")
    with (tmp_path / "a.NPY").open("wb") as file:
        np.save(file, A)
    found = agree(tmp_path / name, specs_of({"x": (1, 5)}), None)

    assert isinstance(found, list) == (name == "a.NPY")
