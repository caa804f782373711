"""What `tflsplit convert` is to make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.float_model import tails
from converters.loading.inputs import InputShapes
from tflsplit import arguments, errors
from tflsplit.decoding.forms import Form, Task, Wish
from tflsplit.graph.tensors import Array
from tflsplit.inputs.preprocessing import Preprocessing
from tflsplit.inputs.resizing import Resize
from tflsplit.values.classes import asdict, dataclass, field, replace

TARGETS = ("cpu", "coral")
PAIRS = ("useful", "all", "none")
IO_TYPES = ("int8", "uint8")


@dataclass(frozen=True, slots=True)
class Options:
    """What to make. `calibration` is a folder of pictures, `.npy`, `.npz` or `.csv`, or an array for each input of
    the model; without it inputs are synthesised, unless `requires_calibration`. `split_at` names cuts by id or
    layer; `pairs` "useful", "all" or "none" is what is written beside them ("useful" if neither is given). `tail`
    is what the cloud's halves compute in, "int8" or "float32". `io` is the type of the model's inputs and outputs,
    "int8" or "uint8"; without it int8, and what a `.tflite` has. `labels_name` is what errors call the labels, as
    their file. `scales` replaces Lambda layers by a factor and what is added; `signature` is the one of a
    SavedModel to convert. `requantise` makes a uint8 `.tflite` int8. With `stateful` the frames of a device are a
    stream, and what operators keep lasts from one to the next. `quick` takes plain noise as calibration: the cuts
    and payloads are then real, the scales are not. `task` is what the model is for, None where its outputs
    tell it; `resize` how pictures of other sizes are fitted.

    For the target "coral", `split_at` knows the cut "edgetpu", right before the first operator that does not map, and
    the heads written are compiled by `compiler` (a command; that on PATH without it) if there is one.
    """

    target: str = "cpu"
    calibration: Path | tuple[Array, ...] | None = None
    requires_calibration: bool = False
    preprocessing: Preprocessing | None = None
    resize: Resize = Resize.STRETCH
    labels: tuple[str, ...] = ()
    labels_name: str = "labels"
    task: Wish | None = None
    split_at: tuple[str, ...] = ()
    pairs: str | None = None
    tail: str = "int8"
    io: str | None = None
    requantise: bool = False
    stateful: bool = False
    input_shapes: InputShapes = field(default_factory=tuple)
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    signature: str | None = None
    allow_unsafe: bool = False
    replaces_existing: bool = False
    quick: bool = False
    compiler: str | None = None

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if self.target not in TARGETS:
            raise errors.SettingsError(f"target {self.target!r}: expected one of {', '.join(TARGETS)}")
        if self.pairs is not None and self.pairs not in PAIRS:
            raise errors.SettingsError(f"pairs {self.pairs!r}: expected one of {', '.join(PAIRS)}")
        if self.tail not in tails.TAILS:
            raise errors.SettingsError(f"tail {self.tail!r}: expected one of {', '.join(tails.TAILS)}")
        if self.compiler is not None and self.target != "coral":
            raise errors.SettingsError("--compiler compiles for the Edge TPU; give --target coral with it")
        if self.io is not None and self.io not in IO_TYPES:
            raise errors.SettingsError(f"io {self.io!r}: expected one of {', '.join(IO_TYPES)}")

    @property
    def has_classes(self) -> bool:
        """Whether a row of numbers holds scores of classes."""
        if self.task is None:
            return bool(self.labels)
        return self.task.task is Task.CLASSIFY

    def as_json(self, folder: Path) -> dict[str, Any]:
        """For `from_json` in another process; arrays go to files in `folder`."""
        fields = asdict(replace(self, calibration=None))
        calibration, shapes = self.calibration, self.input_shapes
        return fields | {
            "calibration": [_file(folder, *entry) for entry in enumerate(calibration)]
            if isinstance(calibration, tuple)
            else calibration and str(calibration),
            "preprocessing": self.preprocessing and self.preprocessing.as_json(),
            "input_shapes": {name: [*map(int, shape)] for name, shape in shapes.items()}
            if isinstance(shapes, Mapping)
            else [[*map(int, shape)] for shape in shapes],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Options":
        calibration, preprocessing = fields["calibration"], fields["preprocessing"]
        task = fields["task"]
        if isinstance(calibration, list):
            calibration = tuple(np.load(file, mmap_mode="r", allow_pickle=False) for file in calibration)
        return cls(
            **dict(fields)
            | {
                "calibration": Path(calibration) if isinstance(calibration, str) else calibration,
                "preprocessing": preprocessing and Preprocessing.from_json(preprocessing),
                "resize": Resize(fields["resize"]),
                "labels": tuple(fields["labels"]),
                "task": task
                and Wish(Task(task["task"]), Form(task["form"]) if task["form"] else None, task["min_score"]),
                "split_at": tuple(fields["split_at"]),
                "scales": {name: tuple(scale) for name, scale in fields["scales"].items()},
            }
        )


def _file(folder: Path, number: int, array: Array) -> str:
    file = folder / f"calibration-{number}.npy"
    if arguments.instance(array, np.ndarray, "calibration").dtype.hasobject:
        raise errors.DataError(f"calibration: array {number} holds Python objects; expected numbers")
    np.save(file, array, allow_pickle=False)
    return str(file)
