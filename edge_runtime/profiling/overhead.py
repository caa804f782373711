"""What edge and cloud do to a frame besides running the model, for timing it."""

from collections.abc import Sequence

from broker.messages import results, wire
from edge_runtime.delivery import framing
from tflsplit.coding import input_codec
from tflsplit.coding.input_codec import InputCodec
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.inputs.preprocessing import PixelTable
from tflsplit.package import outputs
from tflsplit.package.reading import Package

_TIMES = results.Times(*[0.0] * len(results.Times.__slots__))


class Overhead:
    """Frames of one cut, and their results. `codec` is for the cut `input`; None is int8. `bits`: in how many bits
    features travel; None: as they are. A frame holds `batch` inputs."""

    def __init__(
        self,
        package: Package,
        cut: Cut,
        codec: InputCodec | None = None,
        bits: int | None = None,
        *,
        batch: int = 1,
    ) -> None:
        self._package = package
        self._cut = cut
        self._sending = framing.of(package, cut, codec, bits)
        self._table: PixelTable | None = None
        if self._sending.pixels is not None:
            spec, preprocessing = input_codec.picture_input(package.manifest)
            self._table = PixelTable(preprocessing, spec)
        self._frame = wire.Frame(
            package=bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES],
            cut=cut.position,
            boot=0,
            sequence=0,
            captured_ns=0,
            head_us=0,
            boundary=self._sending.boundary,
            pixels=self._sending.pixels,
            bits=bits,
            later_ns=(0,) * (batch - 1),
        )
        self._coder = self._sending.coder_of(batch)

    def encode(self, arrays: tuple[Array, ...]) -> bytes:
        """The encoded frame."""
        return wire.encode(self._frame, arrays, self._coder)

    def coded_bytes(self, encoded: bytes) -> int:
        """The bytes of a frame's payload."""
        return len(wire.unseal(encoded).coded)

    def answer(self, encoded: bytes, computed: tuple[Array, ...]) -> list[bytes]:
        """Decodes the frame, preprocesses its pixels, and makes the result of each of its inputs, of outputs computed
        before, which are one input's."""
        _, arrays = wire.decode(encoded)
        if self._table is not None:
            self._table.apply(arrays[0])
        return [self._result(computed) for _ in range(self._frame.inputs)]

    def read(self, answers: Sequence[bytes]) -> None:
        """What the edge does with the results of a frame."""
        for each in answers:
            results.parse(each)

    def _result(self, computed: tuple[Array, ...]) -> bytes:
        manifest = self._package.manifest
        found = outputs.of(manifest, computed, manifest.outputs)
        return results.Result(
            device="edge",
            boot=0,
            sequence=0,
            cut=self._cut.id,
            package=self._package.digest,
            times=_TIMES,
            top=tuple(results.Score(label, score) for label, score in found.top),
            values=found.values,
            found=found.found,
        ).as_json()
