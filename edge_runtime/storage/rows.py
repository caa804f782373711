"""One row of a spool: a frame as it lies on the disk, with what proves that the disk has not changed it."""

import zlib

from broker.messages import wire
from tflsplit import errors
from tflsplit.values.classes import dataclass

# A row's id is the number of its run and its sequence in it: rows are in the order of acceptance and are found by
# (boot, sequence) without an index. 2^40 frames are a thousand years at 30 a second.
SEQUENCE_BITS = 40
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """`checksum` is of all else; None in rows of version 1, which have that of the frame alone."""

    id: int
    captured_ns: int
    cut: str
    encoded: bytes
    checksum: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is what was put there: a frame, of that sequence."""
        try:
            frame = wire.describe(self.encoded)
        except errors.FrameError:
            return False
        is_its_own = frame.sequence == self.id & SEQUENCE_MASK and frame.captured_ns == self.captured_ns
        return is_its_own and self.checksum in (None, checksum(self.id, self.captured_ns, self.cut, self.encoded))


def sealed(row_id: int, captured_ns: int, cut: str, encoded: bytes) -> Row:
    return Row(row_id, captured_ns, cut, encoded, checksum(row_id, captured_ns, cut, encoded))


def checksum(row_id: int, captured_ns: int, cut: str, encoded: bytes) -> int:
    return zlib.crc32(encoded, zlib.crc32(f"{row_id} {captured_ns} {cut}".encode()))
