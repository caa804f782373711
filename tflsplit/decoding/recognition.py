"""Which form the outputs of a model have, told from their shapes: where these leave no doubt, or a user says it."""

import math
from collections.abc import Sequence

from tflsplit import errors
from tflsplit.decoding import blazeface, detections, forms
from tflsplit.decoding.forms import Decoding, Form, Task, Wish
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs import pictures

_STRIDES = (8, 16, 32)
_ANCHORS = 3  # of a YOLOv5 in each cell
# Fractions reach a little beyond 1 at the picture's edges; a picture has more pixels than that.
_MOST_FRACTION = 4.0
_LAST_OF_POINT = 3


def recognise(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], wish: Wish | None = None, *, labels: int = 0
) -> Decoding | None:
    """How the outputs of a model of pictures are decoded; None where they are plain. `labels` is how many there are.

    ModelError where they have not the task or the form that the user wishes.
    """
    if wish is not None and wish.task in (Task.CLASSIFY, Task.REGRESS):
        return None
    takes_picture = len(inputs) == 1 and pictures.is_picture(inputs[0].shape)
    size = (inputs[0].shape[1], inputs[0].shape[2]) if takes_picture else (0, 0)
    found = _found(size, outputs, wish, labels) if takes_picture else {}
    chosen = [decoding for form, decoding in found.items() if wish is None or wish.form in (None, form)]
    if wish is None:
        return chosen[0] if len(chosen) == 1 else None
    chosen = [each for each in chosen if each.task is wish.task]
    if len(chosen) == 1:
        if wish.min_score is not None and not chosen[0].form.finds_objects:
            raise errors.SettingsError(f"min_score is for objects; {chosen[0].form.value} finds none, leave it out")
        return chosen[0]
    shown = ", ".join(f"{spec.name} {spec.shape}" for spec in outputs)
    if not chosen:
        known = ", ".join(form.value for form in Form if form.task is wish.task)
        raise errors.ModelError(f"--task {wish}: the outputs ({shown}) have none of its forms ({known}); leave it out")
    choice = " or ".join(f"{wish.task.value}:{each.form.value}" for each in chosen)
    raise errors.ModelError(f"--task {wish}: the outputs ({shown}) may be read in several ways; say {choice}")


def check(decoding: Decoding, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """ValueError where the outputs have not that form, as in a damaged package."""
    try:
        found = recognise(inputs, outputs, Wish(decoding.task, decoding.form))
    except errors.ModelError as cause:
        raise ValueError(str(cause)) from cause
    if found is None or found.places != decoding.places:
        raise ValueError(f"its outputs are not decoded as {decoding.form.value}")


def class_count(decoding: Decoding, outputs: Sequence[TensorSpec]) -> int | None:
    """How many classes, or keypoints, such outputs have; None where their shapes do not tell."""
    shape = outputs[decoding.places[0]].shape
    match decoding.form:
        case Form.YOLOV8:
            return min(shape[1:]) - 4
        case Form.YOLOV5:
            return max(min(shape[1:]) - 5, 1)
        case Form.BLAZEFACE | Form.YOLOV8_POSE:
            return 1
        case Form.SCORES | Form.HEATMAPS:
            return shape[-1]
        case Form.POINTS:
            return shape[-2]
        case _:
            return None


def labels(decoding: Decoding | None, outputs: Sequence[TensorSpec], given: Sequence[str]) -> Sequence[str]:
    """Every label that objects or shares may have; none where that is not known."""
    if given or decoding is None:
        return given
    if decoding.form is Form.BLAZEFACE:
        return (blazeface.LABEL,)
    if decoding.form is Form.YOLOV8_POSE:
        return (detections.PERSON,)
    return [str(number) for number in range(class_count(decoding, outputs) or 0)]


def _found(
    size: tuple[int, int], outputs: Sequence[TensorSpec], wish: Wish | None, labels: int
) -> dict[Form, Decoding]:
    """Every form that fits. Without a wish those that only a user can tell are left out."""
    shapes = [spec.shape for spec in outputs]
    min_score = None if wish is None else wish.min_score
    places: dict[Form, tuple[int, ...] | None] = {Form.SSD: _ssd(shapes), Form.BLAZEFACE: _blazeface(size, shapes)}
    if len(outputs) == 1:
        places |= dict.fromkeys(_of_one(size, outputs[0], wish, labels), (0,))
    return {
        form: forms.usual(form, where, in_pixels=_is_in_pixels(form, outputs[where[0]]), min_score=min_score)
        for form, where in places.items()
        if where is not None
    }


def _of_one(size: tuple[int, int], output: TensorSpec, wish: Wish | None, labels: int) -> list[Form]:
    found, shape = [], output.shape
    cells = sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in _STRIDES)
    if len(shape) == 3 and shape[0] == 1 and min(shape[1:]) > 4:
        found += [form for form, count in ((Form.YOLOV8, cells), (Form.YOLOV5, _ANCHORS * cells)) if count in shape]
    is_whole = output.scale == 0.0 and output.dtype.startswith(("int", "uint"))
    plane = shape[1:3]
    if len(shape) in (3, 4) and is_whole and plane == size and (len(shape) == 3 or shape[3] == 1):
        found.append(Form.CLASSES)
    is_map = len(shape) == 4 and not is_whole and shape[3] > 1 and min(plane) > 1
    wished = None if wish is None else wish.task
    if is_map and (wished is Task.SEGMENT or (wished is None and plane == size and shape[3] == labels)):
        found.append(Form.SCORES)
    if is_map and wished is Task.POSE:
        found.append(Form.HEATMAPS)
    numbers = min(shape[1:]) - 5 if len(shape) == 3 else 0
    if wished is Task.POSE and shape[0] == 1 and cells in shape and numbers > 0 and numbers % _LAST_OF_POINT == 0:
        found.append(Form.YOLOV8_POSE)  # 56 numbers a box may be 52 classes too
    if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == _LAST_OF_POINT and shape[2] > 1:
        found.append(Form.POINTS)
    return found


def _ssd(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Boxes, classes, scores, count. TFLite's operator has them in this order, TensorFlow 2's exports as scores, boxes,
    count, classes."""
    if len(shapes) != 4:
        return None
    boxes = [place for place, shape in enumerate(shapes) if len(shape) == 3 and shape[0] == 1 and shape[2] == 4]
    counts = [place for place, shape in enumerate(shapes) if math.prod(shape) == 1]
    if len(boxes) != 1 or len(counts) != 1:
        return None
    rows = [place for place in range(4) if place not in (boxes[0], counts[0])]
    if any(shapes[place] != (1, shapes[boxes[0]][1]) for place in rows):
        return None
    orders = {(0, 3): (0, 1, 2, 3), (1, 2): (1, 3, 0, 2)}
    return orders.get((boxes[0], counts[0]))


def _blazeface(size: tuple[int, int], shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes):
        return None
    scores, boxes = sorted(range(2), key=lambda place: shapes[place][2])
    count, values = shapes[boxes][1:]
    if shapes[scores] != (1, count, 1) or values < 4 or values % 2 or blazeface.anchors(size, count) is None:
        return None
    return scores, boxes


def _is_in_pixels(form: Form, spec: TensorSpec) -> bool:
    """Told from the greatest value that the tensor can hold."""
    if form not in (Form.YOLOV5, Form.YOLOV8, Form.YOLOV8_POSE) or not spec.is_quantised:
        return False
    most = 127 if spec.dtype == "int8" else 255 if spec.dtype == "uint8" else 32767
    return spec.scale * (most - spec.zero_point) > _MOST_FRACTION
