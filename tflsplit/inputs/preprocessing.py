"""How a picture or a raw vector becomes a model's input: the same code for calibration and for frames.

`real = pixel * scale + offset` per channel, after an optional change of channel order. Pixels are 0..255. Input that is
no picture (a `.csv` row, an `.npy` of floats) is the model's float input without a change.
"""

import math
from typing import Any

import numpy as np

from tflsplit import arguments, errors
from tflsplit.graph.tensors import Array, TensorSpec, quantise
from tflsplit.inputs.resizing import Resize
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """`scale` and `offset` have one entry for all channels or one each, in the model's channel order. `resize` is how
    pictures of other sizes are fitted."""

    name: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    channel_order: str = "rgb"
    resize: Resize = Resize.STRETCH

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if len(self.scale) != len(self.offset) or len(self.scale) not in (1, 3):
            raise errors.SettingsError(
                f"preprocessing {self.name!r}: {len(self.scale)} scales, {len(self.offset)} offsets; give 1 or 3"
            )
        if not all(math.isfinite(number) for number in (*self.scale, *self.offset)) or 0.0 in self.scale:
            raise errors.SettingsError(f"preprocessing {self.name!r}: scales must be finite and not 0, offsets finite")
        if self.channel_order not in ("rgb", "bgr"):
            raise errors.SettingsError(f"preprocessing {self.name!r}: order {self.channel_order!r} is not rgb or bgr")

    def check_channels(self, spec: TensorSpec, *, name: str) -> None:
        """DataError, beginning with `name`, if this is for another number of channels than the input has."""
        if len(self.scale) not in (1, spec.shape[-1]):
            raise errors.DataError(
                f"{name}: preprocessing {self.name!r} is for {len(self.scale)} channels, input {spec.name!r} has "
                f"{spec.shape[-1]}; choose another"
            )

    def to_real(self, pixels: Array) -> Array:
        """Pixels (…, channels), 0..255, in RGB order or grey, to the float32 values the model was trained on."""
        ordered = pixels[..., ::-1] if self.channel_order == "bgr" else pixels
        real = ordered.astype(np.float32) * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)
        return np.asarray(real, np.float32)

    def real_range(self) -> tuple[float, float]:
        """Least and greatest value that pixels 0..255 can become, over all channels."""
        ends = [(o, 255.0 * s + o) for s, o in zip(self.scale, self.offset, strict=True)]
        return min(min(pair) for pair in ends), max(max(pair) for pair in ends)

    def as_json(self) -> dict[str, object]:
        fields: dict[str, object] = {
            "name": self.name,
            "scale": list(self.scale),
            "offset": list(self.offset),
            "channel_order": self.channel_order,
        }
        return fields if self.resize is Resize.STRETCH else {**fields, "resize": self.resize.value}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Preprocessing":
        return cls(
            name=str(fields["name"]),
            scale=tuple(float(number) for number in fields["scale"]),
            offset=tuple(float(number) for number in fields["offset"]),
            channel_order=str(fields["channel_order"]),
            resize=Resize(fields.get("resize", Resize.STRETCH)),
        )


# The conventions of keras.applications: `imagenet_utils.preprocess_input` knows tf, torch and caffe; models with a
# Rescaling layer inside take raw pixels. Torch's mean and deviation are ImageNet's in 0..1, caffe's means in 0..255.
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_DEVIATION = (0.229, 0.224, 0.225)
NAMED = {
    preprocessing.name: preprocessing
    for preprocessing in (
        Preprocessing("raw", (1.0,), (0.0,)),
        Preprocessing("unit", (1 / 255,), (0.0,)),
        Preprocessing("symmetric", (1 / 127.5,), (-1.0,)),
        Preprocessing(
            "torch",
            tuple(1 / (255 * deviation) for deviation in _TORCH_DEVIATION),
            tuple(-mean / deviation for mean, deviation in zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True)),
        ),
        Preprocessing("caffe", (1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), "bgr"),
    )
}


def parse(text: str) -> Preprocessing:
    """A name out of `NAMED`, or `SCALE,OFFSET` for all channels (`0.00784,-1`): `real = pixel * SCALE + OFFSET`."""
    if arguments.text(text, "preprocessing") in NAMED:
        return NAMED[text]
    try:
        scale, offset = (float(number) for number in text.split(","))
    except ValueError:
        raise errors.SettingsError(
            f"preprocessing {text!r} is neither one of {', '.join(NAMED)} nor SCALE,OFFSET (two numbers, as 0.00784,-1)"
        ) from None
    return Preprocessing("custom", (scale,), (offset,))


class PixelTable:
    """Turns uint8 pixels straight into a quantised input by a 256-entry table a channel: no float work at the edge.

    Exactly `quantise(preprocessing.to_real(pixels), spec)`, computed once for each of the 256 values.
    """

    def __init__(self, preprocessing: Preprocessing, spec: TensorSpec) -> None:
        ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(len(preprocessing.scale), axis=1)
        unordered = Preprocessing(preprocessing.name, preprocessing.scale, preprocessing.offset)
        self._columns = quantise(unordered.to_real(ramp), spec).T.copy()
        self._is_bgr = preprocessing.channel_order == "bgr"

    def apply(self, pixels: Array) -> Array:
        """uint8 pixels (height, width, channels) to the stored type of the model's input, same shape."""
        ordered = pixels[..., ::-1] if self._is_bgr else pixels
        if len(self._columns) == 1:
            return np.take(self._columns[0], ordered)
        return np.stack([column[ordered[..., channel]] for channel, column in enumerate(self._columns)], axis=-1)
