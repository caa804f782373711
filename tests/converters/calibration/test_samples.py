"""Samples out of folders, arrays and tables; what is refused and what is doubted."""

import pathlib
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from converters.calibration import samples
from converters.loading import formats
from converters.loading.inputs import Input
from tflsplit import errors
from tflsplit.inputs.preprocessing import NAMED

PICTURE = Input("image", (1, 6, 8, 3), "float32")
GREY = Input("image", (1, 6, 8, 1), "float32")
VECTOR = Input("row", (1, 3), "float32")
RAW, UNIT = NAMED["raw"], NAMED["unit"]


def pictures(folder, count, mode="RGB"):
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.new(mode, (20, 10), index if mode == "L" else (index, 0, 255)).save(folder / f"{index:03}.png")
    return folder


def test_a_folder_of_pictures_is_resized_and_preprocessed(tmp_path):
    (array,) = samples.read(pictures(tmp_path / "p", 3), [PICTURE], UNIT)

    assert (array.shape, array.dtype) == ((3, 6, 8, 3), np.float32)
    np.testing.assert_allclose(array[2, 0, 0], [2 / 255, 0, 1])


def test_pictures_take_the_channels_of_the_model(tmp_path):
    colour, grey = pictures(tmp_path / "c", 1), pictures(tmp_path / "g", 1, "L")

    assert samples.read(colour, [GREY], RAW)[0].shape == (1, 6, 8, 1)
    assert samples.read(grey, [PICTURE], RAW)[0].shape == (1, 6, 8, 3)


def test_a_large_folder_is_sampled_evenly_first_and_last_included(tmp_path):
    (array,) = samples.read(pictures(tmp_path / "p", 50), [PICTURE], RAW, limit=8)

    assert array[:, 0, 0, 0].tolist() == [0, 7, 14, 21, 28, 35, 42, 49]


def test_a_fifth_of_many_samples_is_held_out_and_all_beyond_a_hundred():
    for count, calibrating, measuring in ((39, 39, 39), (40, 32, 8), (100, 80, 20), (150, 100, 50), (200, 100, 100)):
        array = np.arange(count)
        (kept,), (apart,) = samples.hold_out((array,))
        assert (len(kept), len(apart)) == (calibrating, measuring)
        if count >= 40:
            assert sorted([*kept, *apart]) == list(range(count))


def test_pixels_are_refused_where_it_is_unknown_how_the_model_takes_them(tmp_path):
    np.save(tmp_path / "u.npy", np.zeros((2, 6, 8, 3), np.uint8))
    np.save(tmp_path / "f.npy", np.zeros((2, 6, 8, 3), np.float32))
    for source in (pictures(tmp_path / "p", 1), tmp_path / "u.npy"):
        with pytest.raises(errors.DataError, match=r"pixels is unknown; say it .* with --preprocess \(raw, unit"):
            samples.read(source, [PICTURE], None)
    assert samples.read(tmp_path / "f.npy", [PICTURE], None)[0].shape == (2, 6, 8, 3)


def test_uint8_pictures_are_preprocessed_and_floats_are_taken_as_they_stand(tmp_path):
    pixels = np.full((2, 6, 8, 3), 51, np.uint8)
    np.save(tmp_path / "u.npy", pixels)
    np.save(tmp_path / "f.npy", pixels.astype(np.float64))

    assert samples.read(tmp_path / "u.npy", [PICTURE], UNIT)[0].max() == pytest.approx(0.2)
    assert samples.read(tmp_path / "f.npy", [PICTURE], UNIT)[0].max() == 51.0


def test_npz_arrays_go_to_inputs_by_name_and_in_order_where_numpy_named_them(tmp_path):
    other = Input("other", (1, 2), "float32")
    np.savez(tmp_path / "named.npz", other=np.ones((4, 2)), row=np.zeros((4, 3)))
    np.savez(tmp_path / "ordered.npz", np.zeros((4, 3)), np.ones((4, 2)))
    for name in ("named.npz", "ordered.npz"):
        row, second = samples.read(tmp_path / name, [VECTOR, other], RAW)
        assert (row.shape, second.shape, second.max()) == ((4, 3), (4, 2), 1.0)


@pytest.mark.parametrize("header", ["", "a,b,c\n"])
def test_csv_rows_are_vectors_with_or_without_a_header(tmp_path, header):
    (tmp_path / "t.csv").write_text(header + "1,2,3\n4,5,6\n")

    assert samples.read(tmp_path / "t.csv", [VECTOR], RAW)[0].tolist() == [[1, 2, 3], [4, 5, 6]]


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    return path


REFUSED = {
    "wrong shape": ("a.npy", np.zeros((2, 4)), r"found shape \(2, 4\), expected \(samples, 3\)"),
    "empty": ("a.npy", np.zeros((0, 3)), "no samples"),
    "not a number": ("a.npy", np.full((2, 3), np.nan), "NaN"),
    "text": ("a.npy", np.array([["x"] * 3]), "expected numbers"),
    "truncated": ("a.npy", b"\x93NUMPY\x01\x00", "cannot be read"),
    "no npz": ("a.npz", b"PK\x03\x04", "cannot be read"),
    "short row": ("a.csv", b"1,2,3\n1,2\n", "data row 2 is 2 cells"),
    "word in a row": ("a.csv", b"1,2,3\n1,x,3\n", "expected 3 numbers"),
    "no rows": ("a.csv", b"", "no samples"),
    "unknown kind": ("a.dat", b"x", "unknown kind"),
    "picture for a vector": ("a.png", b"x", "no picture"),
}


@pytest.mark.parametrize(("name", "content", "reason"), REFUSED.values(), ids=REFUSED)
def test_data_that_cannot_be_used_are_refused_naming_the_file(tmp_path, name, content, reason):
    with pytest.raises(errors.DataError, match=reason) as caught:
        samples.read(write(tmp_path / name, content), [VECTOR], RAW)
    assert str(tmp_path / name) in str(caught.value)


def test_pickled_arrays_are_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(errors.DataError, match="cannot be read"):
        samples.read(tmp_path / "a.npy", [VECTOR], RAW)


def test_empty_folders_and_broken_pictures_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(errors.DataError, match="no pictures"):
        samples.read(tmp_path / "none", [PICTURE], RAW)
    (tmp_path / "none" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(errors.DataError, match=r"broken\.jpg: cannot be read as a picture"):
        samples.read(tmp_path / "none", [PICTURE], RAW)


def picture_model(k):
    return k.Sequential([k.Input((6, 8, 3), name="image"), k.layers.Conv2D(2, 3)])


def pixels(count=20):
    return np.random.default_rng(0).integers(0, 256, (count, 6, 8, 3)).astype(np.float32)


def test_good_data_raise_no_doubt(load_built):
    assert samples.warnings([pixels() / 255], load_built(picture_model), UNIT) == ()


DOUBTED = {
    "few": (pixels(3) / 255, "only 3 samples"),
    "constant": (np.zeros((20, 6, 8, 3), np.float32), "0 throughout"),
    "one picture repeated": (np.repeat(pixels(1) / 255, 20, axis=0), "are the same"),
    "pixels as floats": (pixels(), "look like pixels kept as floats"),
    "prepared otherwise": (pixels() / 127.5 - 1, "prepared otherwise"),
    "scaled twice": (pixels() / 255 / 255, "scaled twice"),
}


@pytest.mark.parametrize(("array", "doubt"), DOUBTED.values(), ids=DOUBTED)
def test_data_that_look_wrong_are_doubted(load_built, array, doubt):
    assert any(doubt in line for line in samples.warnings([array], load_built(picture_model), UNIT))


@pytest.fixture(scope="module")
def digits():
    """The demo's trained model and pictures of the kind it was trained on."""
    folder = resources.files("tflsplit") / "demo"
    with np.load(str(folder / "digits.npz")) as data:
        return formats.load(pathlib.Path(str(folder / "digits.h5"))), data["calibration"][:20]


def test_data_like_those_a_model_was_trained_on_raise_no_doubt(digits):
    model, pixels = digits

    assert samples.warnings([UNIT.to_real(pixels)], model, UNIT) == ()


def test_another_preprocessing_is_named_where_it_fits_the_stored_statistics_better(digits):
    model, pixels = digits
    (doubt,) = samples.warnings([NAMED["symmetric"].to_real(pixels)], model, NAMED["symmetric"])

    assert "'unit' fits them better" in doubt


def test_data_of_another_kind_are_doubted_though_their_range_is_right(digits):
    model, pixels = digits

    assert "are far" in samples.warnings([1 - UNIT.to_real(pixels)], model, UNIT)[0]
