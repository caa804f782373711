"""How the input travels at the cut `input`: as the model stores it (int8), as pixels (raw), or as JPEG of a quality.

Pixels go through the package's preprocessing in the cloud, by the very table that an edge would have used.
"""

import enum

from tflsplit import arguments, errors
from tflsplit.coding import jpeg
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs import pictures
from tflsplit.inputs.preprocessing import Preprocessing
from tflsplit.package.manifest import Manifest
from tflsplit.values.classes import dataclass, replace


class Pixels(enum.Enum):
    """Pixels of a picture before preprocessing, on the wire."""

    RAW = "raw"
    JPEG = "jpeg"

    @property
    def is_lossy(self) -> bool:
        return self is Pixels.JPEG


@dataclass(frozen=True, slots=True)
class InputCodec:
    """`pixels` is None where the input travels as stored; `quality` is that of a JPEG."""

    pixels: Pixels | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if (self.quality is None) == (self.pixels is Pixels.JPEG):
            raise ValueError(f"quality {self.quality} of {self.pixels}: a JPEG has one, nothing else has")

    def __str__(self) -> str:
        if self.pixels is None:
            return "int8"
        return self.pixels.value if self.quality is None else f"{self.pixels.value}:{self.quality}"

    @property
    def is_lossy(self) -> bool:
        return self.pixels is not None and self.pixels.is_lossy


STORED = InputCodec()


def parse(text: str) -> InputCodec:
    """`raw`, `int8` or `jpeg:QUALITY`; SettingsError for anything else."""
    if arguments.text(text, "input codec") == "int8":
        return STORED
    if text == "raw":
        return InputCodec(Pixels.RAW)
    name, _, quality = text.partition(":")
    if name != "jpeg" or quality not in map(str, jpeg.QUALITIES):
        raise errors.SettingsError(
            f"input codec {text!r}: write raw, int8 or jpeg:QUALITY with a quality of "
            f"{jpeg.QUALITIES[0]} to {jpeg.QUALITIES[-1]}"
        )
    return InputCodec(Pixels.JPEG, int(quality))


def picture_input(manifest: Manifest) -> tuple[TensorSpec, Preprocessing]:
    """The input of a package that takes pictures, and what their pixels go through; DataError for other packages."""
    if len(manifest.inputs) != 1 or manifest.preprocessing is None:
        raise errors.DataError(
            f"package {manifest.name}: takes no plain pictures ({len(manifest.inputs)} inputs, preprocessing "
            f"{manifest.preprocessing.name if manifest.preprocessing else 'not stated'}); give a .npy or .npz source, "
            "or convert with --preprocess"
        )
    pictures.picture_shape(manifest.inputs[0].shape, name=f"package {manifest.name}")
    manifest.preprocessing.check_channels(manifest.inputs[0], name=f"package {manifest.name}")
    return manifest.inputs[0], manifest.preprocessing


def pixels_of(spec: TensorSpec) -> TensorSpec:
    """The pixels that become this input: the same shape, uint8, not quantised."""
    return replace(spec, dtype="uint8", scale=0.0, zero_point=0)
