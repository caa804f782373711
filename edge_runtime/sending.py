"""What the frames of one edge carry, and how they are coded: the boundary of its cut, or the pixels of its input."""

from dataclasses import dataclass

from tflsplit import codec, errors, inputcodec, jpeg, pictures
from tflsplit.cuts import Cut
from tflsplit.inputcodec import InputCodec, Pixels
from tflsplit.package import Package
from tflsplit.tensors import TensorSpec, payload_bytes


@dataclass(frozen=True, slots=True)
class Sending:
    """`input_codec` is None at a cut behind the input. One thread's, as its coder is."""

    boundary: tuple[TensorSpec, ...]
    coder: codec.Codec
    input_codec: InputCodec | None

    @property
    def pixels(self) -> Pixels | None:
        return self.input_codec.pixels if self.input_codec else None

    def as_json(self) -> dict[str, object]:
        """For people and tools. `payload_bytes` are those before coding; a JPEG's size is another for each picture."""
        fields: dict[str, object] = {
            "boundary": [spec.as_json() for spec in self.boundary],
            "payload_bytes": payload_bytes(self.boundary),
            "codec": self.coder.id.name.lower(),
        }
        if self.input_codec is not None:
            fields |= {"input_codec": str(self.input_codec), "lossy": self.input_codec.is_lossy}
        return fields


def of(package: Package, cut: Cut, input_codec: InputCodec | None) -> Sending:
    """`input_codec` None is int8 at the cut `input`.

    SettingsError if one is given for another cut, DataError if pixels are asked of a package that takes no pictures.
    """
    if cut.position > 0 and input_codec is not None:
        raise errors.SettingsError(
            f"input codec {input_codec} is for the cut input, at {cut.id} features travel; leave one of the two out"
        )
    chosen = input_codec or inputcodec.STORED
    if chosen.pixels is None:
        features = codec.build(codec.CodecId[package.manifest.codec.upper()])
        return Sending(cut.boundary, features, chosen if cut.position == 0 else None)
    stored, _ = inputcodec.picture_input(package.manifest)
    spec = inputcodec.pixels_of(stored)
    coder: codec.Codec = codec.Plain()
    if chosen.quality is not None:
        coder = jpeg.Jpeg(pictures.picture_shape(spec.shape, name=package.manifest.name), chosen.quality)
    return Sending((spec,), coder, chosen)
