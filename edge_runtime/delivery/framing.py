"""Makes frames: of the boundary of the edge's cut, or of the pixels of its input."""

from typing import NamedTuple

from broker.messages import wire
from tflsplit import errors
from tflsplit.coding import bit_codec, feature_codec, input_codec, jpeg, precisions
from tflsplit.coding.input_codec import InputCodec, Pixels
from tflsplit.graph import tensors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array, TensorSpec, payload_bytes
from tflsplit.inputs import pictures
from tflsplit.package import outputs
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, field


@dataclass(slots=True)
class Packed:
    """An encoded frame and what its edge remembers of it. `package` is the first half of the digest in hexadecimal,
    `cut` the cut's id, `captured_ns` since the epoch, `captured_at_s` by our monotonic clock (None if another process
    captured it). Of several inputs in it these are the first one's; `later_ns` are the others' `captured_ns`. `sizes`
    are as in `wire.Frame`."""

    boot: int
    sequence: int
    package: str
    cut: str
    captured_ns: int
    head_s: float
    encoded: bytes
    captured_at_s: float | None = field(default=None, compare=False)
    later_ns: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    @property
    def inputs(self) -> int:
        return 1 + len(self.later_ns)

    @property
    def captures_ns(self) -> tuple[int, ...]:
        """Of each of its inputs."""
        return (self.captured_ns, *self.later_ns)

    def later_s(self, place: int) -> float:
        """How long after the first one that input was captured."""
        return (self.captures_ns[place] - self.captured_ns) / 1e9

    @property
    def key(self) -> tuple[int, int]:
        """Unique among all frames of a device."""
        return self.boot, self.sequence


class Sending(NamedTuple):
    """`input_codec` is None at a cut behind the input, `bits` where features travel as they are stored. For one thread,
    like its coder."""

    package: Package
    cut: Cut
    boundary: tuple[TensorSpec, ...]
    coder: feature_codec.Codec
    input_codec: InputCodec | None
    bits: int | None = None

    @property
    def loss(self) -> str:
        """What is lost on the way, in words; "" where nothing is."""
        if self.bits is not None:
            return f"features travel in {self.bits} bits"
        is_lossy = self.input_codec is not None and self.input_codec.is_lossy
        return f"the input travels as {self.input_codec}" if is_lossy else ""

    @property
    def pixels(self) -> Pixels | None:
        return self.input_codec.pixels if self.input_codec else None

    @property
    def payload_bytes(self) -> int | None:
        """What each frame carries, before the codec of features; None where it depends on the picture."""
        is_jpeg = self.input_codec is not None and self.input_codec.quality is not None
        return None if is_jpeg else payload_bytes(self.boundary)

    def pack(
        self,
        arrays: tuple[Array, ...],
        *,
        key: tuple[int, int],
        captured_ns: int,
        captured_at_s: float,
        head_s: float,
        wants_ack: bool,
        follows: int | None = None,
        later_ns: tuple[int, ...] = (),
        sizes: tuple[tuple[int, int], ...] = (),
        wants_mask: bool = False,
    ) -> Packed:
        """The frame of an input, or of several, whose rows `arrays` hold and whose sequences follow one another."""
        boot, sequence = key
        digits = self.package.digest[: 2 * wire.PACKAGE_BYTES]
        frame = wire.Frame(
            package=bytes.fromhex(digits),
            cut=self.cut.position,
            boot=boot,
            sequence=sequence,
            captured_ns=captured_ns,
            head_us=int(head_s * 1e6),
            boundary=self.boundary,
            pixels=self.pixels,
            wants_ack=wants_ack,
            bits=self.bits,
            follows=follows,
            later_ns=later_ns,
            sizes=sizes,
            wants_mask=wants_mask,
        )
        encoded = wire.encode(frame, arrays, self.coder_of(frame.inputs))
        about = (boot, sequence, digits, self.cut.id, captured_ns, head_s)
        return Packed(*about, encoded, captured_at_s, later_ns, sizes)

    def coder_of(self, inputs: int) -> feature_codec.Codec:
        """The coder of a frame with so many inputs. Levels are per tensor, and a payload says how many features of
        each it holds."""
        if inputs == 1 or not isinstance(self.coder, bit_codec.Bits):
            return self.coder
        return self.coder.widened(inputs)

    def as_json(self) -> dict[str, object]:
        """For people and tools. `payload_bytes` is None where JPEGs travel, each of a size of its own."""
        fields: dict[str, object] = {
            "package": self.package.digest,
            "name": self.package.manifest.name,
            "calibration": self.package.manifest.calibration.kind,
            "cut": self.cut.id,
            "layer": self.cut.layer,
            "boundary": [spec.as_json() for spec in self.boundary],
            "payload_bytes": self.payload_bytes,
            "uncoded_bytes": payload_bytes(self.boundary),
            "codec": self.coder.id.name.lower(),
            "lossy": bool(self.loss),
            "bits": self.bits,
        }
        if self.input_codec is not None:
            fields |= {"input_codec": str(self.input_codec)}
        return fields


def check_batch(package: Package, cut: Cut, batch: int) -> None:
    """SettingsError where a frame of that cut cannot hold so many inputs."""
    if batch > 1 and package.manifest.is_stateful:
        raise errors.SettingsError(
            f"{package.path}: it is stateful, and a batch of {batch} would take inputs of a stream at once: leave the "
            "batch out"
        )
    try:
        tensors.widened(cut.boundary, batch)
    except ValueError as cause:
        raise errors.SettingsError(
            f"a batch of {batch} at {cut.id}: {cause}; leave the batch out, or take another cut"
        ) from cause


def check_mask(package: Package, *, is_wanted: bool) -> None:
    """SettingsError where a mask is wanted of a model that has none."""
    if is_wanted and not outputs.segments(package.manifest):
        raise errors.SettingsError(f"{package.path}: does not segment, so results have no mask: leave mask out")


def of(package: Package, cut: Cut, codec: InputCodec | None, bits: int | None = None) -> Sending:
    """`codec` is for the cut `input`: how the input travels; None: int8, as stored. `bits`: in how many bits features,
    or the stored input, travel; None: as they are.

    SettingsError if a codec is given for another cut, DataError if pixels are wanted of a package that takes no
    pictures, or bits that were not measured for it.
    """
    if cut.position > 0 and codec is not None:
        raise errors.SettingsError(
            f"input codec {codec} is for the cut input, at {cut.id} features travel; leave one of the two out"
        )
    chosen = codec or input_codec.STORED
    if bits is not None:
        if chosen.pixels is not None:
            raise errors.SettingsError(f"input codec {codec} and {bits} bits both say how the input travels; give one")
        found = precisions.of_cut(package, cut, bits)
        coder: feature_codec.Codec = bit_codec.Bits(cut.boundary, found.levels, bits)
        return Sending(package, cut, cut.boundary, coder, chosen if cut.position == 0 else None, bits)
    if chosen.pixels is None:
        features = feature_codec.build(feature_codec.CodecId[package.manifest.codec.upper()])
        return Sending(package, cut, cut.boundary, features, chosen if cut.position == 0 else None)
    stored, _ = input_codec.picture_input(package.manifest)
    spec = input_codec.pixels_of(stored)
    coder = feature_codec.Plain()
    if chosen.quality is not None:
        coder = jpeg.Jpeg(pictures.picture_shape(spec.shape, name=package.manifest.name), chosen.quality)
    return Sending(package, cut, (spec,), coder, chosen)
