import numpy as np
import pytest
from PIL import Image

from tflsplit import errors
from tflsplit.inputs import pictures, resizing
from tflsplit.inputs.preprocessing import NAMED, Preprocessing
from tflsplit.inputs.resizing import Resize


def test_a_letterbox_shows_all_with_grey_at_two_edges():
    shown = np.asarray(resizing.resized(Image.new("RGB", (200, 100), (9, 8, 7)), (64, 64), Resize.LETTERBOX))

    assert (shown[16:48] == (9, 8, 7)).all()
    assert (shown[:16] == 114).all()
    assert (shown[48:] == 114).all()
    grey = np.asarray(resizing.resized(Image.new("L", (10, 20), 3), (8, 8), Resize.LETTERBOX))
    assert grey[0].tolist() == [114, 114, 3, 3, 3, 3, 114, 114]


def test_a_crop_takes_the_middle():
    picture = Image.new("RGB", (300, 100))
    picture.paste((255, 255, 255), (100, 0, 200, 100))

    shown = np.asarray(resizing.resized(picture, (10, 10), Resize.CROP))
    assert (shown[:, 1:-1] == 255).all()
    assert shown.min() > 200  # at its edges the filter sees what lies beside


@pytest.mark.parametrize("resize", list(Resize))
def test_a_camera_gives_the_pixels_of_the_same_picture_in_a_file(tmp_path, resize):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    read = pictures.read(tmp_path / "x.png", (12, 20, 3), resize)

    assert np.array_equal(pictures.fitted(pixels, (12, 20, 3), resize, name="camera:0"), read)
    assert pictures.size(tmp_path / "x.png") == (61, 37)


def test_the_size_of_a_phones_picture_is_that_of_the_upright_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=exif)

    assert pictures.size(tmp_path / "x.jpg") == (20, 40)
    (tmp_path / "y.jpg").write_bytes(b"no picture")
    with pytest.raises(errors.DataError, match="cannot be read as a picture"):
        pictures.size(tmp_path / "y.jpg")


def test_a_preprocessing_keeps_how_pictures_are_fitted_and_says_nothing_of_the_usual_way():
    cropping = Preprocessing("raw", (1.0,), (0.0,), resize=Resize.CROP)

    assert Preprocessing.from_json(cropping.as_json()) == cropping
    assert "resize" not in NAMED["raw"].as_json()
    with pytest.raises(errors.SettingsError, match="expected one of stretch, crop, letterbox"):
        resizing.parse("pad")
