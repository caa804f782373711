"""Decoders against a reading of the outputs that is written here anew, in plain loops."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from tflsplit import errors
from tflsplit.decoding import decoder, forms, maps, recognition
from tflsplit.decoding.forms import Form, Task
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs import resizing
from tflsplit.inputs.resizing import Resize

INPUT = (TensorSpec("picture", (1, 64, 96, 3), "int8", 1 / 255, -128),)
CELLS = 8 * 12 + 4 * 6 + 2 * 3


def decoded(form, outputs, places=(0,), size=(64, 96), *, labels=(), placement=resizing.WHOLE, **changes):
    decoding = forms.usual(form, places, **changes)
    return decoder.decode(decoding, [np.asarray(each, np.float32) for each in outputs], size, labels, placement)


def kept_one_by_one(boxes, scores, classes, least, most):
    """The greedy choice, box by box."""
    left, kept = sorted(range(len(scores)), key=lambda place: -scores[place]), []
    for place in left:
        if scores[place] >= least and all(
            classes[place] != classes[other] or overlap(boxes[place], boxes[other]) <= most for other in kept
        ):
            kept.append(place)
    return kept


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def as_box(corners):
    x0, y0, x1, y1 = (min(max(edge, 0), 1) for edge in corners)
    return [x0, y0, x1 - x0, y1 - y0]


@pytest.mark.parametrize("form", [Form.YOLOV8, Form.YOLOV5])
@pytest.mark.parametrize("in_pixels", [False, True])
def test_boxes_of_yolo_are_those_of_a_plain_reading(form, in_pixels):
    random = np.random.default_rng(7)
    count, classes = 120, 3
    rows = np.concatenate((random.uniform(0, 1, (count, 2)), random.uniform(0.1, 0.5, (count, 2))), 1)
    scores = random.uniform(0, 1, (count, classes)) ** 4
    objectness = random.uniform(0, 1, (count, 1))
    stored = rows * ([96, 64, 96, 64] if in_pixels else 1)
    if form is Form.YOLOV8:
        output, total = np.concatenate((stored, scores), 1).T[None], scores
    else:
        output, total = np.concatenate((stored, objectness, scores), 1)[None], scores * objectness
    found = decoded(form, [output], in_pixels=in_pixels, labels=("a", "b")).objects

    corners = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in rows.tolist()]
    best, which = total.max(1).tolist(), total.argmax(1).tolist()
    wanted = kept_one_by_one(corners, best, which, 0.25, 0.7 if form is Form.YOLOV8 else 0.45)[:100]
    assert 5 < len(wanted) < 100
    assert [each.label for each in found] == [("a", "b", "2")[which[place]] for place in wanted]
    np.testing.assert_allclose([each.score for each in found], [best[place] for place in wanted], atol=1e-6)
    np.testing.assert_allclose([each.box for each in found], [as_box(corners[place]) for place in wanted], atol=1e-5)


def test_boxes_of_ssd_post_processing_are_read_up_to_their_count():
    boxes = [[[0.1, 0.2, 0.5, 0.6], [0.0, -0.1, 1.2, 0.5], [0.3, 0.3, 0.4, 0.4], [9, 9, 9, 9]]]
    found = decoded(
        Form.SSD, [boxes, [[1, 0, 1, 1]], [[0.9, 0.7, 0.2, 0.99]], [3]], (0, 1, 2, 3), labels=("cat", "dog")
    )

    assert [(each.label, round(each.score, 3)) for each in found.objects] == [("dog", 0.9), ("cat", 0.7)]
    np.testing.assert_allclose([each.box for each in found.objects], [[0.2, 0.1, 0.4, 0.4], [0, 0, 0.5, 1]], atol=1e-6)


def test_faces_are_those_of_a_plain_reading_of_scores_and_anchors():
    random = np.random.default_rng(3)
    logits, values = random.normal(-3, 2, (1, 896, 1)), random.normal(0, 20, (1, 896, 16))
    values[..., 2:4] = random.uniform(20, 60, (1, 896, 2))
    anchors = [((x + 0.5) / 16, (y + 0.5) / 16) for y in range(16) for x in range(16) for _ in range(2)]
    anchors += [((x + 0.5) / 8, (y + 0.5) / 8) for y in range(8) for x in range(8) for _ in range(6)]
    found = decoded(Form.BLAZEFACE, [logits, values], (0, 1), (128, 128)).objects

    scores = [1 / (1 + math.exp(-logit)) for logit in logits.ravel()]
    corners, points = [], []
    for (ax, ay), row in zip(anchors, values[0] / 128, strict=True):
        x, y = ax + row[0], ay + row[1]
        corners.append([x - row[2] / 2, y - row[3] / 2, x + row[2] / 2, y + row[3] / 2])
        points.append([(ax + row[place], ay + row[place + 1]) for place in range(4, 16, 2)])
    wanted = kept_one_by_one(corners, scores, [0] * 896, 0.5, 0.3)
    assert len(wanted) > 5
    assert {each.label for each in found} == {"face"}
    np.testing.assert_allclose([each.score for each in found], [scores[place] for place in wanted], atol=1e-6)
    np.testing.assert_allclose([each.box for each in found], [as_box(corners[place]) for place in wanted], atol=1e-5)
    np.testing.assert_allclose(
        [[(point.x, point.y) for point in each.keypoints] for each in found],
        [points[place] for place in wanted],
        atol=1e-5,
    )


def test_shares_of_classes_leave_out_what_a_letterbox_added():
    plane = np.zeros((8, 8))
    plane[2:6] = 1  # the picture, twice as wide as high; rows above and below are grey
    plane[2:4, :2] = 2
    placement = resizing.placed((200, 100), (8, 8), Resize.LETTERBOX)
    found = decoded(Form.CLASSES, [plane[None]], size=(8, 8), labels=("sky", "cat"), placement=placement)

    assert [(each.label, each.share) for each in found.shares] == [("cat", 28 / 32), ("2", 4 / 32)]
    assert found.mask.shape == (4, 8)
    with Image.open(io.BytesIO(maps.png(found.mask))) as read:
        assert np.array_equal(np.asarray(read), found.mask)
        assert read.convert("RGB").getpixel((0, 0)) == (0, 128, 0)  # PASCAL VOC's second colour
    scores = np.eye(3)[plane.astype(int)]
    assert decoded(Form.SCORES, [scores[None]], size=(8, 8), placement=placement).mask.tolist() == found.mask.tolist()


def test_keypoints_are_peaks_of_heat_maps_or_come_as_they_are():
    heat = np.zeros((1, 4, 8, 2))
    heat[0, 1, 6, 0], heat[0, 3, 0, 1] = 0.9, 0.4
    found = decoded(Form.HEATMAPS, [heat], labels=("nose", "tail")).keypoints
    assert [(each.label, each.x, each.y) for each in found] == [("nose", 6.5 / 8, 1.5 / 4), ("tail", 0.5 / 8, 3.5 / 4)]

    rows = np.random.default_rng(0).uniform(0, 1, (1, 1, 17, 3))
    points = decoded(Form.POINTS, [rows]).keypoints
    assert (points[0].label, points[16].label) == ("nose", "right_ankle")
    np.testing.assert_allclose([(each.y, each.x, each.score) for each in points], rows[0, 0], atol=1e-6)


@pytest.mark.parametrize("in_pixels", [False, True])
def test_people_and_their_keypoints_are_those_of_a_plain_reading(in_pixels):
    random = np.random.default_rng(5)
    rows = np.concatenate((random.uniform(0, 1, (CELLS, 2)), random.uniform(0.1, 0.5, (CELLS, 2))), 1)
    scores, points = random.uniform(0, 1, CELLS) ** 4, random.uniform(0, 1, (CELLS, 17, 3))
    stored = rows * ([96, 64, 96, 64] if in_pixels else 1)
    shown = (points * ([96, 64, 1] if in_pixels else 1)).reshape(CELLS, -1)
    output = np.concatenate((stored, scores[:, None], shown), 1).T[None]
    found = decoded(Form.YOLOV8_POSE, [output], in_pixels=in_pixels)

    corners = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in rows.tolist()]
    wanted = kept_one_by_one(corners, scores.tolist(), [0] * CELLS, 0.25, 0.7)
    assert 5 < len(wanted) < 100
    assert found.counts == {"person": len(wanted)}
    assert [point.label for point in found.objects[0].keypoints][:2] == ["nose", "left_eye"]
    np.testing.assert_allclose([each.score for each in found.objects], scores[wanted], atol=1e-6)
    np.testing.assert_allclose([each.box for each in found.objects], [as_box(corners[at]) for at in wanted], atol=1e-5)
    told = [[(point.x, point.y, point.score) for point in each.keypoints] for each in found.objects]
    np.testing.assert_allclose(told, points[wanted], atol=1e-5)


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("size", [(200, 100), (90, 100), (96, 64), (91, 150)])
def test_a_box_is_that_of_the_source_however_its_picture_was_fitted(resize, size):
    picture = Image.new("RGB", size)
    x0, y0, x1, y1 = (round(size[0] * 0.4), round(size[1] * 0.45), round(size[0] * 0.6), round(size[1] * 0.55))
    picture.paste((255, 255, 255), (x0, y0, x1, y1))
    seen = np.asarray(resizing.resized(picture, (96, 64), resize))[..., 0] > 180
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = [rows[0] / 64, columns[0] / 96, (rows[-1] + 1) / 64, (columns[-1] + 1) / 96]
    placement = resizing.placed(size, (96, 64), resize)

    (found,) = decoded(Form.SSD, [[[box]], [[0]], [[0.9]], [1]], (0, 1, 2, 3), placement=placement).objects

    pixel = max(1 / 96 / placement.width, 1 / 64 / placement.height)
    wanted = [x0 / size[0], y0 / size[1], (x1 - x0) / size[0], (y1 - y0) / size[1]]
    np.testing.assert_allclose(found.box, wanted, atol=2 * pixel)


def spec(*shape, scale=0.01, dtype="int8"):
    return TensorSpec("out", shape, dtype, scale, 0)


@pytest.mark.parametrize(
    ("outputs", "task", "form", "places"),
    [
        ([spec(1, 8, CELLS)], None, Form.YOLOV8, (0,)),
        ([spec(1, CELLS, 8)], None, Form.YOLOV8, (0,)),
        ([spec(1, 3 * CELLS, 8)], None, Form.YOLOV5, (0,)),
        ([spec(1, 10, 4), spec(1, 10), spec(1, 10), spec(1)], None, Form.SSD, (0, 1, 2, 3)),
        ([spec(1, 10), spec(1, 10, 4), spec(1), spec(1, 10)], None, Form.SSD, (1, 3, 0, 2)),
        ([spec(1, 64, 96, scale=0.0, dtype="int64")], None, Form.CLASSES, (0,)),
        ([spec(1, 64, 96, 2)], None, Form.SCORES, (0,)),  # as many as labels
        ([spec(1, 32, 48, 7)], "segment", Form.SCORES, (0,)),
        ([spec(1, 32, 48, 7)], "pose", Form.HEATMAPS, (0,)),
        ([spec(1, 1, 17, 3)], None, Form.POINTS, (0,)),
        ([spec(1, 56, CELLS)], "pose", Form.YOLOV8_POSE, (0,)),
        ([spec(1, 56, CELLS)], None, Form.YOLOV8, (0,)),  # 52 classes as well
        ([spec(1, 10)], None, None, None),
        ([spec(1, 64, 96, 3)], None, None, None),  # a picture as well
        ([spec(1, 32, 48, 7)], None, None, None),
        ([spec(1, 8, CELLS)], "regress", None, None),
    ],
)
def test_a_form_is_told_where_the_outputs_leave_no_doubt(outputs, task, form, places):
    wish = None if task is None else forms.parse(task)
    found = recognition.recognise(INPUT, outputs, wish, labels=2)

    assert (found and found.form) == form
    assert (found and found.places) == places


def test_pixels_are_told_from_fractions_by_what_the_tensor_can_hold():
    assert not recognition.recognise(INPUT, [spec(1, 8, CELLS)]).in_pixels
    assert recognition.recognise(INPUT, [spec(1, 8, CELLS, scale=0.8)]).in_pixels


def test_a_task_that_does_not_fit_is_refused_with_the_outputs_and_what_is_known():
    with pytest.raises(
        errors.ModelError, match=r"--task detect: the outputs \(out \(1, 10\)\) have none of its forms \(ssd"
    ):
        recognition.recognise(INPUT, [spec(1, 10)], forms.parse("detect"))
    for text, said in (
        ("fly", "expected one of classify"),
        ("detect:heatmaps", "expected one of ssd"),
        ("regress:x", "no"),
    ):
        with pytest.raises(errors.SettingsError, match=said):
            forms.parse(text)
    with pytest.raises(errors.SettingsError, match="between 0 and 1"):
        forms.parse("detect", 1.5)
    with pytest.raises(errors.SettingsError, match="leave it out with pose:points"):
        forms.parse("pose:points", 0.4)
    with pytest.raises(errors.SettingsError, match="heatmaps finds none"):
        recognition.recognise(INPUT, [spec(1, 32, 48, 7)], forms.parse("pose", 0.4))
    assert forms.parse("detect:yolov5", 0.4) == forms.Wish(Task.DETECT, Form.YOLOV5, 0.4)
