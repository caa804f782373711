"""How a frame's payload is coded for the wire, and whether coding pays for a given package.

Codec ids are written into frames and never change their meaning. 0 and 1 are taken; 2 to 15 are for lossless coders
of features, 16 to 31 for coded pictures (16 is JPEG, see tflsplit.coding.jpeg), 32 and above for lossy coders of
features: 32 and a number of bits for features of so many (tflsplit.coding.bit_codec).
"""

import enum
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from tflsplit import errors, extras

Buffer = bytes | bytearray | memoryview

# Coding and decoding 12.5 KB costs some 0.1 ms of a small CPU; a tenth of 12.5 KB takes 0.1 ms on a 100 Mbit/s link.
# Below a saving of a tenth the CPU time is worth more than the bytes on any link a split is made for.
MIN_SAVING = 0.10

# zstd's fastest ordinary level: int8 features gain nearly all they can there (entropy coding, few repeats to find).
DEFAULT_LEVEL = 1


class CodecId(enum.IntEnum):
    NONE = 0
    ZSTD = 1
    JPEG = 16
    BITS_2 = 34
    BITS_3 = 35
    BITS_4 = 36
    BITS_6 = 38


class Codec(Protocol):
    """What `wire.encode` needs. An encoder keeps working memory: one per thread."""

    @property
    def id(self) -> CodecId: ...

    def encode(self, raw: Buffer) -> Buffer: ...


class Plain:
    """Sends the bytes as they are, without copying them."""

    id = CodecId.NONE

    def encode(self, raw: Buffer) -> Buffer:
        return raw


class Zstd:
    """Each payload is one zstd frame that declares its content size, as `decode` demands."""

    id = CodecId.ZSTD

    def __init__(self, level: int = DEFAULT_LEVEL) -> None:
        # No checksum: the frame around it has one.
        self._compressor = _zstandard().ZstdCompressor(level=level, write_content_size=True, write_checksum=False)

    def encode(self, raw: Buffer) -> Buffer:
        coded: bytes = self._compressor.compress(raw)
        return coded


class Choice(NamedTuple):
    """Which codec a package uses, and the measurement behind it."""

    id: CodecId
    level: int
    raw_bytes: int
    zstd_bytes: int

    @property
    def saving(self) -> float:
        """Share of the bytes that zstd takes away; negative where it adds some."""
        return 1.0 - self.zstd_bytes / self.raw_bytes if self.raw_bytes else 0.0

    def build(self) -> Codec:
        return build(self.id, self.level)


def build(codec_id: CodecId, level: int = DEFAULT_LEVEL) -> Codec:
    """A coder of features; ValueError for the id of one that codes pictures."""
    if codec_id not in (CodecId.NONE, CodecId.ZSTD):
        raise ValueError(f"codec {codec_id.name.lower()} does not code features")
    return Zstd(level) if codec_id is CodecId.ZSTD else Plain()


def choose(samples: Sequence[Buffer], level: int = DEFAULT_LEVEL) -> Choice:
    """Measures zstd on payloads as a package makes them; without samples the answer is `NONE`."""
    coder = Zstd(level)
    raw_bytes = sum(memoryview(sample).nbytes for sample in samples)
    zstd_bytes = sum(memoryview(coder.encode(sample)).nbytes for sample in samples)
    pays = zstd_bytes <= raw_bytes * (1.0 - MIN_SAVING) and raw_bytes > 0
    return Choice(CodecId.ZSTD if pays else CodecId.NONE, level, raw_bytes, zstd_bytes)


def decode(codec_id: int, coded: Buffer, raw_bytes: int) -> Buffer:
    """Exactly `raw_bytes` bytes of features, or FrameError; the caller has bounded `raw_bytes`.

    Plain bytes are not copied.
    """
    if codec_id == CodecId.NONE:
        if len(coded) != raw_bytes:
            raise errors.FrameError(f"payload is {len(coded)} bytes, expected {raw_bytes}")
        return coded
    if codec_id == CodecId.ZSTD:
        return _unzstd(coded, raw_bytes)
    if codec_id == CodecId.JPEG:
        raise errors.FrameError("payload is coded as JPEG, but the frame says that it holds features, not pixels")
    if codec_id in list(CodecId):
        raise errors.FrameError(f"codec {codec_id} is of features in fewer bits, but the frame holds pixels")
    known = ", ".join(f"{codec.value} ({codec.name.lower()})" for codec in CodecId)
    raise errors.FrameError(f"codec {codec_id} is not known here, only {known}; is the sender newer?")


def _unzstd(coded: Buffer, raw_bytes: int) -> bytes:
    library = _zstandard()
    try:
        declared = library.get_frame_parameters(coded).content_size
        if declared != raw_bytes:  # also refuses a frame that declares nothing, whose output could have any size
            raise errors.FrameError(f"zstd payload does not declare the expected {raw_bytes} bytes")
        raw: bytes = _decompressor().decompress(coded, max_output_size=raw_bytes, allow_extra_data=False)
    except library.ZstdError as problem:
        raise errors.FrameError(f"zstd payload is damaged: {problem}") from problem
    if len(raw) != raw_bytes:
        raise errors.FrameError(f"zstd payload holds {len(raw)} bytes, expected {raw_bytes}")
    return raw


_per_thread = threading.local()


def _decompressor() -> Any:
    """One per thread: zstandard's contexts must not be shared, and making one costs more than a small frame."""
    if not hasattr(_per_thread, "decompressor"):
        _per_thread.decompressor = _zstandard().ZstdDecompressor()
    return _per_thread.decompressor


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as problem:
        raise errors.DeviceError(extras.need("the codec zstd", "zstandard")) from problem
    return zstandard
