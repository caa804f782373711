"""What the frames of one edge carry, and how they are coded: the boundary of its cut, or the pixels of its input."""

from dataclasses import dataclass

from broker import wire
from tflsplit import codec, errors, inputcodec, jpeg, pictures
from tflsplit.cuts import Cut
from tflsplit.inputcodec import InputCodec, Pixels
from tflsplit.package import Package
from tflsplit.tensors import Array, TensorSpec, payload_bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """A frame as it travels, and what its edge remembers of it. `package` is the first half of the digest in
    hexadecimal, `cut` the cut's id, `captured_ns` since the epoch."""

    boot: int
    sequence: int
    package: str
    cut: str
    captured_ns: int
    head_s: float
    encoded: bytes

    @property
    def key(self) -> tuple[int, int]:
        """What tells a device's frames apart, for ever."""
        return self.boot, self.sequence


@dataclass(frozen=True, slots=True)
class Sending:
    """`input_codec` is None at a cut behind the input. One thread's, as its coder is."""

    package: Package
    cut: Cut
    boundary: tuple[TensorSpec, ...]
    coder: codec.Codec
    input_codec: InputCodec | None

    @property
    def pixels(self) -> Pixels | None:
        return self.input_codec.pixels if self.input_codec else None

    def pack(
        self,
        arrays: tuple[Array, ...],
        *,
        key: tuple[int, int],
        captured_ns: int,
        head_s: float,
        wants_ack: bool,
    ) -> Packed:
        boot, sequence = key
        digest = bytes.fromhex(self.package.digest)[: wire.PACKAGE_BYTES]
        frame = wire.Frame(
            package=digest,
            cut=self.cut.position,
            boot=boot,
            sequence=sequence,
            captured_ns=captured_ns,
            head_us=int(head_s * 1e6),
            boundary=self.boundary,
            pixels=self.pixels,
            wants_ack=wants_ack,
        )
        encoded = wire.encode(frame, arrays, self.coder)
        return Packed(boot, sequence, digest.hex(), self.cut.id, captured_ns, head_s, encoded)

    def as_json(self) -> dict[str, object]:
        """For people and tools. `payload_bytes` are those before coding; a JPEG's size is another for each picture."""
        fields: dict[str, object] = {
            "package": self.package.digest,
            "name": self.package.manifest.name,
            "calibration": self.package.manifest.calibration.kind,
            "cut": self.cut.id,
            "layer": self.cut.layer,
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
        return Sending(package, cut, cut.boundary, features, chosen if cut.position == 0 else None)
    stored, _ = inputcodec.picture_input(package.manifest)
    spec = inputcodec.pixels_of(stored)
    coder: codec.Codec = codec.Plain()
    if chosen.quality is not None:
        coder = jpeg.Jpeg(pictures.picture_shape(spec.shape, name=package.manifest.name), chosen.quality)
    return Sending(package, cut, (spec,), coder, chosen)
