"""Public detectors and a segmenter: what is found equals a plain reading of the whole model's outputs."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import converters
import tflsplit
from broker.transport.memory import MemoryBroker
from tflsplit.graph.interpreter import Interpreter

PICTURES = Path(converters.__file__).parent / "calibration" / "pictures"
pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def packages(shared_data, tmp_path_factory):
    """The package of a model by its name."""

    @functools.cache
    def made(name):
        model = shared_data / "models" / f"{name}.tflite"
        return tflsplit.convert(model, tmp_path_factory.mktemp(name) / "m.tflsplit", pairs="none")

    return made


def real_outputs(package, picture):
    """The whole model's, by their own scales, with the input made as the package states it."""
    source = tflsplit.open_source(picture, package)
    (taken,) = source.inputs()
    with Interpreter(package.model_bytes()) as whole:
        return [
            (array.astype(np.float64) - spec.zero_point) * (spec.scale or 1.0)
            for spec, array in zip(whole.outputs, whole.run(*taken.arrays), strict=True)
        ]


def overlap(one, other):
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(across, 0) * max(down, 0)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def chosen(rows, least, most):
    """Of (score, class, box): greedy, the best first."""
    kept = []
    for row in sorted((row for row in rows if row[0] >= least), key=lambda row: -row[0]):
        if all(row[1] != other[1] or overlap(row[2], other[2]) <= most for other in kept):
            kept.append(row)
    return kept


def check(found, wanted):
    assert [each.label for each in found] == [str(label) for _, label, _ in wanted]
    np.testing.assert_allclose([each.score for each in found], [score for score, _, _ in wanted], atol=1e-6)
    clipped = []
    for _, _, (x, y, width, height) in wanted:
        left, top, right, bottom = (min(max(edge, 0), 1) for edge in (x, y, x + width, y + height))
        clipped.append([left, top, right - left, bottom - top])
    np.testing.assert_allclose([each.box for each in found], clipped, atol=1e-6)


def test_objects_of_yolo(packages):
    package = packages("yolov8n_4class_640x384_int8")
    seen = 0
    for picture in sorted(PICTURES.glob("*.jpg")):
        (output,) = real_outputs(package, picture)
        rows = []
        for x, y, width, height, *scores in output[0].T.tolist():
            label = max(range(4), key=lambda place: scores[place])
            rows.append((scores[label], label, (x - width / 2, y - height / 2, width, height)))
        wanted = chosen(rows, 0.25, 0.7)
        seen += len(wanted)
        (found,) = tflsplit.predict(package, picture, cut="output")
        check(found.answer.found.objects, wanted)
    assert seen >= 2


def test_the_face_of_an_astronaut(packages):
    package = packages("blazeface_128_int8_float_ends")
    logits, values = real_outputs(package, PICTURES / "astronaut.jpg")
    anchors = [((x + 0.5) / 16, (y + 0.5) / 16) for y in range(16) for x in range(16) for _ in range(2)]
    anchors += [((x + 0.5) / 8, (y + 0.5) / 8) for y in range(8) for x in range(8) for _ in range(6)]
    rows = []
    for (x, y), logit, (dx, dy, width, height, *_) in zip(anchors, logits.ravel(), values[0] / 128, strict=True):
        box = (x + dx - width / 2, y + dy - height / 2, width, height)
        rows.append((1 / (1 + math.exp(-max(min(logit, 100), -100))), "face", box))
    (found,) = tflsplit.predict(package, PICTURES / "astronaut.jpg", cut="input")

    check(found.answer.found.objects, chosen(rows, 0.5, 0.3))
    (face,) = found.answer.found.objects
    assert face.score > 0.9
    assert len(face.keypoints) == 6


def test_a_deployment_gives_the_same_objects(packages):
    package, network, results = packages("blazeface_128_int8_float_ends"), MemoryBroker(), []
    with (
        tflsplit.Cloud(package, network, deployment="d"),
        tflsplit.Edge(package, network, deployment="d", device="n", cut="op030") as edge,
    ):
        edge.run(PICTURES / "astronaut.jpg", on_result=results.append)
    (found,) = tflsplit.predict(package, PICTURES / "astronaut.jpg", cut="op030")

    assert results[0].found.objects
    assert results[0].found.as_json() == found.answer.found.as_json()
    assert (results[0].label, results[0].score) == (found.label, found.score)


def test_shares_and_masks_of_a_segmenter(packages, tmp_path):
    package = packages("deeplabv3_mnv2_dm05_pascal_quant")
    (plane,) = real_outputs(package, PICTURES / "chelsea.jpg")
    (found,) = tflsplit.predict(package, PICTURES / "chelsea.jpg")

    shares = {each.label: each.share for each in found.answer.found.shares}
    assert shares == {str(number): np.mean(plane == number) for number in np.unique(plane).astype(int)}
    assert max(shares, key=shares.get) == "8"  # a cat, in PASCAL VOC
    code, said, _ = run("predict", package.path, PICTURES / "chelsea.jpg", "--masks", tmp_path / "masks")
    assert code == 0
    assert "chelsea.jpg: 8 9" in said
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["0000-chelsea.png"]
