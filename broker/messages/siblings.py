"""What a device has measured, for others of its kind in the deployment. It says so on its telemetry topic, or asks
there, having measured nothing; a cloud answers on its control topic with what the others of that kind have said last.

    4s magic · 8s kind · u16 devices · f64 age_s · f64 s_per_bit, rtt_s, edge_slower, cloud_slower, cloud_wait_s

`kind` is the same where such figures mean the same: the beginning of a digest of package, plan and processor. `devices`
is of how many the figures are: 0 in a question, and in an answer where nobody has said anything; then they mean
nothing. Fields are little endian.
"""

import math
import struct

from tflsplit import errors
from tflsplit.values.classes import astuple, dataclass

MAGIC = b"TFSK"
KIND_BYTES = 8
# So often a device that adapts says what it has measured: 150 bytes with every header.
EVERY_S = 10.0

_FIGURES = struct.Struct(f"<4s{KIND_BYTES}sHd5d")


@dataclass(frozen=True, slots=True)
class Figures:
    """`age_s` counts from when the device would have spoken again, had it more to say. The other figures are those of
    `tflsplit.switching.choices.Present`."""

    kind: bytes
    devices: int
    age_s: float = 0.0
    s_per_bit: float = 0.0
    rtt_s: float = 0.0
    edge_slower: float = 0.0
    cloud_slower: float = 0.0
    cloud_wait_s: float = 0.0

    def encode(self) -> bytes:
        return _FIGURES.pack(MAGIC, *astuple(self))


def is_one(payload: bytes) -> bool:
    return payload.startswith(MAGIC)


def parse(payload: bytes) -> Figures:
    """FrameError for anything that no device or cloud of ours would say."""
    if len(payload) != _FIGURES.size or not is_one(payload):
        raise errors.FrameError(f"figures of siblings are {len(payload)} bytes, expected {_FIGURES.size}")
    _, kind, devices, *figures = _FIGURES.unpack(payload)
    found = Figures(kind, devices, *figures)
    are_meant = all(math.isfinite(each) and each >= 0 for each in figures)
    if not are_meant or (devices and min(found.s_per_bit, found.edge_slower, found.cloud_slower) <= 0):
        raise errors.FrameError(f"figures of siblings are {figures}, expected finite times, and factors above 0")
    return found
