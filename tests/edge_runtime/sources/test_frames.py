import numpy as np
import pytest
import tiny_models
from PIL import Image

from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.graph.tensors import TensorSpec, quantise
from tflsplit.inputs import preprocessing


@pytest.fixture
def picture_manifest(builder):
    """A model that takes 4x6 colour pictures."""
    x = builder.tensor("x", (1, 4, 6, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 4, 6, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


def taken(source, count=None):
    found = [one.arrays[0] for one in source.inputs()]
    return found if count is None else found[:count]


def test_a_folder_gives_its_pictures_in_name_order_at_the_models_size(picture_manifest, tmp_path):
    for name, colour in (("b.png", (0, 255, 0)), ("a.jpg", (255, 255, 255)), ("deeper/c.bmp", (0, 0, 0))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (33, 17), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = taken(frames.open_source(str(tmp_path), picture_manifest))

    assert [array.shape for array in found] == [(1, 4, 6, 3)] * 3
    assert [array[0, 0, 0].tolist() for array in found] == [[127, 127, 127], [-128, 127, -128], [-128, -128, -128]]


def test_pixels_in_npy_go_through_the_preprocessing_and_floats_do_not(picture_manifest, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    real = preprocessing.NAMED["unit"].to_real(pixels)
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "real.npy", real)
    expected = quantise(real, picture_manifest.inputs[0])

    for name in ("pixels.npy", "real.npy"):
        assert np.array_equal(
            np.concatenate(taken(frames.open_source(str(tmp_path / name), picture_manifest))), expected
        )


def test_stored_integers_are_taken_as_they_are(tiny_package):
    stored = np.arange(8, dtype=np.int8).reshape(2, 4)

    found = taken(frames.from_arrays((stored,), tiny_package.manifest, name="x"))
    assert np.array_equal(np.concatenate(found), stored)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5), np.int8), r"found shape \(3, 5\), expected \(samples, 4\)"),
        (np.zeros((0, 4), np.int8), "holds no samples"),
        (np.zeros((3, 4), np.uint8), "uint8 data"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_both_shapes(tiny_package, array, message):
    with pytest.raises(errors.DataError, match=message):
        frames.from_arrays((array,), tiny_package.manifest, name="thing.npy")


@pytest.mark.parametrize("name", ["nothing-here", "notes.txt", "pickled.npy"])
def test_a_source_that_is_none_is_refused(picture_manifest, tmp_path, name):
    (tmp_path / "notes.txt").write_text("no source")
    np.save(tmp_path / "pickled.npy", np.array([{"code": "runs"}], object), allow_pickle=True)

    with pytest.raises(errors.DataError):
        frames.open_source(str(tmp_path / name), picture_manifest)


def test_an_empty_folder_and_a_broken_picture_are_named(picture_manifest, tmp_path):
    with pytest.raises(errors.DataError, match="no pictures in it"):
        frames.open_source(str(tmp_path), picture_manifest)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(errors.DataError, match=r"broken\.png: cannot be read as a picture"):
        taken(frames.open_source(str(tmp_path), picture_manifest))


def test_each_input_carries_the_time_it_was_taken(tiny_package):
    ticks = iter(range(100))
    source = frames.from_arrays((np.zeros((3, 4), np.int8),), tiny_package.manifest, name="x")

    assert [one.captured_ns for one in source.inputs(clock=lambda: next(ticks))] == [0, 1, 2]


def test_a_source_fits_itself_to_another_package(picture_manifest, tmp_path):
    Image.new("RGB", (33, 17), (255, 0, 0)).save(tmp_path / "red.png")
    builder = tiny_models.Builder()
    x = builder.tensor("x", (1, 2, 3, 3), scale=1 / 127, zero_point=0)
    other = tiny_models.describe(builder.build((x,), (builder.add(x, x, "y", (1, 2, 3, 3)),)))
    source = frames.open_source(str(tmp_path), picture_manifest)
    (capture,) = source.captures()
    (before,) = source.convert(capture.raw)
    (after,) = source.fit(other)(capture.raw)

    assert (before.shape, before[0, 0, 0].tolist()) == ((1, 4, 6, 3), [127, -128, -128])
    assert (after.shape, after[0, 0, 0].tolist()) == ((1, 2, 3, 3), [127, 0, 0])


def test_a_source_that_does_not_fit_another_package_says_so(picture_manifest, tiny_package, tmp_path):
    Image.new("RGB", (33, 17)).save(tmp_path / "black.png")
    source = frames.open_source(str(tmp_path), picture_manifest)

    with pytest.raises(errors.DataError):
        source.fit(tiny_package.manifest)


def test_an_archive_keeps_to_its_names_in_a_package_with_another_order(tmp_path):
    def package(names):
        inputs = tuple(TensorSpec(name, (1, 4), "int8", 0.1, 0) for name in names)
        return tiny_models.describe(tiny_models.residual_model(), inputs=inputs)

    np.savez(tmp_path / "a.npz", a=np.full((2, 4), 1, np.int8), b=np.full((2, 4), 2, np.int8))
    source = frames.open_source(str(tmp_path / "a.npz"), package("ab"))
    raw = next(iter(source.captures())).raw

    assert [array[0, 0] for array in source.convert(raw)] == [1, 2]
    assert [array[0, 0] for array in source.fit(package("ba"))(raw)] == [2, 1]
