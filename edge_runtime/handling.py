"""What edge and cloud do to a frame beside running the model, as their loops do it: to be timed, not to be used."""

from broker import results, wire
from tflsplit import answers, codec
from tflsplit.cuts import Cut
from tflsplit.package import Package
from tflsplit.tensors import Array

_TIMES = results.Times(*[0.0] * len(results.Times.__slots__))


class Handling:
    """Frames of one cut, and their results."""

    def __init__(self, package: Package, cut: Cut) -> None:
        self._package = package
        self._cut = cut
        self._coder = codec.build(codec.CodecId[package.manifest.codec.upper()])
        self._frame = wire.Frame(
            package=bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES],
            cut=cut.position,
            boot=0,
            sequence=0,
            captured_ns=0,
            head_us=0,
            boundary=cut.boundary,
        )

    def encode(self, boundary: tuple[Array, ...]) -> bytes:
        """The frame as it travels."""
        return wire.encode(self._frame, boundary, self._coder)

    def overhead_bytes(self, boundary: tuple[Array, ...]) -> int:
        """What a frame has beside its payload."""
        return len(wire.encode(self._frame, boundary, codec.Plain())) - self._cut.payload_bytes

    def answer(self, encoded: bytes, outputs: tuple[Array, ...]) -> bytes:
        """Decodes the frame and makes a result of outputs that were computed before."""
        wire.decode(encoded)
        manifest = self._package.manifest
        found = answers.read(manifest.outputs, outputs, manifest.labels)
        return results.Result(
            device="edge",
            boot=0,
            sequence=0,
            cut=self._cut.id,
            package=self._package.digest,
            times=_TIMES,
            top=tuple(results.Score(label, score) for label, score in found.top),
            values=found.values,
        ).as_json()
