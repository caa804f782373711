"""Tasks of models, and the forms in which outputs tell what was found. A package records both."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from tflsplit import arguments, errors
from tflsplit.values.classes import dataclass


class Task(str, Enum):
    """`value` is what `--task` and the manifest say."""

    CLASSIFY = "classify"
    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    REGRESS = "regress"


class Form(str, Enum):
    """How outputs tell it. The parts of each form, in the order of `Decoding.places`:

    `SSD`: boxes, classes, scores, count, as TFLite's own post-processing puts them out. `YOLOV8`: one tensor of centre,
    size and a score for each class; `YOLOV5`: the same with a score of the box before those; `YOLOV8_POSE`: centre,
    size and score, then x, y and score of each keypoint. `BLAZEFACE`: scores of anchors, and their boxes with
    keypoints. `CLASSES`: a map of class numbers; `SCORES`: one of scores of each class.
    `HEATMAPS`: a map of scores for each keypoint. `POINTS`: y, x and score of each.
    """

    SSD = "ssd"
    YOLOV8 = "yolov8"
    YOLOV5 = "yolov5"
    YOLOV8_POSE = "yolov8-pose"
    BLAZEFACE = "blazeface"
    CLASSES = "classes"
    SCORES = "scores"
    HEATMAPS = "heatmaps"
    POINTS = "points"

    @property
    def task(self) -> Task:
        return _TASKS[self]

    @property
    def finds_objects(self) -> bool:
        """With boxes; a pose may be that of each person in a picture."""
        return self in _USUAL


_TASKS = {
    Form.SSD: Task.DETECT,
    Form.YOLOV8: Task.DETECT,
    Form.YOLOV5: Task.DETECT,
    Form.YOLOV8_POSE: Task.POSE,
    Form.BLAZEFACE: Task.DETECT,
    Form.CLASSES: Task.SEGMENT,
    Form.SCORES: Task.SEGMENT,
    Form.HEATMAPS: Task.POSE,
    Form.POINTS: Task.POSE,
}
# From which score on an object counts, and which share of two boxes' union makes them one object: what people compare
# with are Ultralytics' own defaults for its models, MediaPipe's for its face detector, and Frigate's for SSD, whose
# boxes were sorted out in the model.
_USUAL = {
    Form.SSD: (0.5, 1.0),
    Form.YOLOV8: (0.25, 0.7),
    Form.YOLOV5: (0.25, 0.45),
    Form.YOLOV8_POSE: (0.25, 0.7),
    Form.BLAZEFACE: (0.5, 0.3),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user says of a model: its task, perhaps the form, and from which score on an object counts."""

    task: Task
    form: Form | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        if self.min_score is not None and not 0.0 < self.min_score < 1.0:
            raise errors.SettingsError(f"min_score {self.min_score}: expected a number between 0 and 1")
        finds_objects = any(form.finds_objects for form in Form if form.task is self.task and self.form in (None, form))
        if self.min_score is not None and not finds_objects:
            raise errors.SettingsError(f"min_score is for --task detect; leave it out with {self}")

    def __str__(self) -> str:
        return self.task.value if self.form is None else f"{self.task.value}:{self.form.value}"


def parse(text: str, min_score: float | None = None) -> Wish:
    """`TASK` or `TASK:FORM`, as `detect:yolov5`."""
    word, _, form = arguments.text(text, "task").partition(":")
    task = Task(arguments.one_of(word, [each.value for each in Task], "task"))
    forms = [each.value for each in Form if each.task is task]
    if form and not forms:
        raise errors.SettingsError(f"task {text!r}: {word} has no forms; write {word}")
    found = Form(arguments.one_of(form, forms, f"form of task {word}")) if form else None
    return Wish(task, found, min_score)


@dataclass(frozen=True, slots=True)
class Decoding:
    """`places` says which output has each part of the form. `in_pixels`: places are pixels of the model's picture, not
    fractions of it. `min_score` and `max_overlap` are 0 and 1 where all counts."""

    form: Form
    places: tuple[int, ...]
    in_pixels: bool = False
    min_score: float = 0.0
    max_overlap: float = 1.0

    def __post_init__(self) -> None:
        arguments.check_fields(self)

    @property
    def task(self) -> Task:
        return self.form.task

    def as_json(self) -> dict[str, object]:
        return {
            "task": self.task.value,
            "form": self.form.value,
            "outputs": list(self.places),
            "in_pixels": self.in_pixels,
            "min_score": self.min_score,
            "max_overlap": self.max_overlap,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Decoding":
        places = tuple(fields["outputs"])
        return cls(Form(fields["form"]), places, fields["in_pixels"], fields["min_score"], fields["max_overlap"])


def usual(form: Form, places: tuple[int, ...], *, in_pixels: bool = False, min_score: float | None = None) -> Decoding:
    """With the limits that users of such models know."""
    score, overlap = _USUAL.get(form, (0.0, 1.0))
    return Decoding(form, places, in_pixels, score if min_score is None else min_score, overlap)
