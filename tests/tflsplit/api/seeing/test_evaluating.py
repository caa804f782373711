"""`tflsplit evaluate`: right answers of models whose answers are known, and why not more."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from command_line import run
from PIL import Image

import tflsplit
from tflsplit import errors
from tflsplit.graph.meanings import Meaning
from tflsplit.inputs import preprocessing
from tflsplit.inputs.resizing import Resize

COLOURS = ("crimson", "green", "navy")  # so that nothing but the order of channels swaps the first and the last


def package(folder, *, told=preprocessing.NAMED["unit"], labels=COLOURS, regresses=False):
    """A model that sums up each colour of a picture, or of a regressor red only."""
    made = tiny_models.Builder()
    picture = made.tensor("picture", (1, 8, 8, 3), scale=1 / 255, zero_point=-128)
    row = made.tensor("row", (1, 192), scale=1 / 255, zero_point=-128)
    extents = made.tensor("extents", (2,), scale=None, data=np.array([1, 192], np.int32), kind="INT32")
    options = schema.ReshapeOptionsT()
    options.newShape = [1, 192]
    made.operator("RESHAPE", (picture, extents), (row,), options, options_type="ReshapeOptions")
    chosen = np.tile(np.eye(3, dtype=np.int8), 64)[: 1 if regresses else 3]
    weights = made.tensor("weights", chosen.shape, scale=1 / 64, data=chosen)
    sums = made.dense(row, weights, "sums", len(chosen), scale=1 / 127)
    changes = {"preprocessing": told, "labels": () if regresses else labels}
    changes["meanings"] = (Meaning.VALUES if regresses else Meaning.LOGITS,)
    return tiny_models.write_package(folder / "m.tflsplit", made.build((picture,), (sums,)), **changes)


@pytest.fixture
def coloured():
    """Pixels of noise in one colour, and its place among `COLOURS`."""
    random = np.random.default_rng(5)
    places = np.arange(60) % 3
    pixels = random.integers(0, 60, (60, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(60), ..., places] += 120
    return pixels, places


@pytest.fixture
def test_set(tmp_path, coloured):
    """The same as files, in a folder for each class."""
    for number, (pixels, place) in enumerate(zip(*coloured, strict=True)):
        folder = tmp_path / "test" / COLOURS[place]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "test"


def test_all_is_right_in_each_way_and_nothing_is_blamed(tmp_path, test_set):
    report = tflsplit.evaluate(package(tmp_path), test_set)

    assert {way.name: way.found.accuracy for way in report.ways} == {
        "int8": 1.0,
        "jpeg:90": 1.0,
        "jpeg:70": 1.0,
        "jpeg:50": 1.0,
    }
    assert report.causes == ()
    assert report.remarks[0].startswith("float: not at hand; give the file that the package was made of (--model)")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"told": dataclasses.replace(preprocessing.NAMED["unit"], channel_order="bgr")}, "channels in RGB order"),
        ({"told": preprocessing.NAMED["raw"]}, "--preprocess unit"),
        ({"labels": ("background", "crimson", "green")}, "labels without their first line"),
        ({"labels": ("navy", "crimson", "green")}, "alphabetical order"),
    ],
)
def test_what_is_likely_wrong_is_named_first(tmp_path, coloured, changes, cause):
    pixels, places = coloured
    np.savez(tmp_path / "test.npz", images=pixels, labels=places.astype(np.int64))
    made = package(tmp_path, **changes)
    if "labels" in changes:
        keep = np.isin(np.array(COLOURS)[places], changes["labels"])
        told = np.array(COLOURS)[places][keep]
        np.savez(tmp_path / "test.npz", images=pixels[keep], labels=told)
    report = tflsplit.evaluate(made, tmp_path / "test.npz", jpeg_qualities=())

    assert report.ways[0].found.accuracy < 0.7
    causes = [words for words, _ in report.causes]
    assert cause in causes[0]
    assert report.causes[0][1] == 1.0


def test_errors_of_a_regressor(tmp_path, coloured):
    pixels, _ = coloured
    truth = pixels[..., 0].reshape(60, -1).mean(1) / 255
    made = package(tmp_path, regresses=True)
    np.savez(tmp_path / "test.npz", picture=pixels, y=truth)
    (tmp_path / "pictures").mkdir()
    lines = ["picture,red"]
    for number, (each, red) in enumerate(zip(pixels, truth, strict=True)):
        Image.fromarray(each).save(tmp_path / "pictures" / f"{number}.png")
        lines.append(f"pictures/{number}.png,{red}")
    (tmp_path / "test.csv").write_text("\n".join(lines))
    report = tflsplit.evaluate(made, tmp_path / "test.npz")

    assert report.ways[0].found.mae[0] <= 1 / 127
    assert report.ways[0].found.r2[0] > 0.99
    assert tflsplit.evaluate(made, tmp_path / "test.csv").ways == report.ways


def test_a_table_of_classes_and_the_command(tmp_path, test_set):
    made = package(tmp_path, told=dataclasses.replace(preprocessing.NAMED["unit"], resize=Resize.CROP))
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in sorted(test_set.rglob("*.png"))]
    (tmp_path / "test.csv").write_text("\n".join(rows))
    code, said, _ = run("evaluate", made.path, tmp_path / "test.csv", "--jpeg", "40", "--json")
    told = json.loads(said)
    assert code == 0
    assert [(way["computed_as"], way["accuracy"]) for way in told["ways"]] == [("int8", 1.0), ("jpeg:40", 1.0)]
    assert told["ways"][0]["classes"][0] == {"class": "crimson", "right": 20, "samples": 20}
    code, said, _ = run("evaluate", made.path, test_set)
    assert code == 0
    assert "60 samples, right answers" in said


def test_what_cannot_be_judged_is_refused(tmp_path, coloured, test_set):
    made = package(tmp_path)
    np.savez(tmp_path / "bare.npz", picture=coloured[0])
    np.savez(tmp_path / "few.npz", picture=coloured[0], labels=coloured[1][:9])
    (tmp_path / "gone.csv").write_text("a.png,green\nb.png,green\n")
    for data, said in (
        ("bare.npz", "does not say what is true"),
        ("few.npz", "9 classes beside 60 samples"),
        ("gone.csv", "is no picture with 1 cells behind it"),
        ("test/green", "does not say what is true"),
        ("none", "no such file"),
    ):
        with pytest.raises(errors.DataError, match=said):
            tflsplit.evaluate(made, tmp_path / data)
    other = tiny_models.write_package(
        tmp_path / "many", made.model_bytes(), meanings=(Meaning.MULTI_LABEL,), labels=COLOURS
    )
    with pytest.raises(errors.DataError, match="several labels at once"):
        tflsplit.evaluate(other, test_set)
