"""Dead letters: frames that no cloud could process, published for operators with their device and the reason.

    {"device": "cam-1", "boot": "00c0ffee00c0ffee", "sequence": 7, "reason": "…", "received_ms": …,
     "bytes": 12612, "frame": "VEZTRgE…"}

`boot` and `sequence` are null if the frame is too damaged to tell; `frame` is Base64 of the bytes, null if that does
not fit the broker's packet limit. `Allowance` limits the number of letters, so that bad frames do not fill the broker.
"""

import base64
import json
from typing import Any

from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass, replace

# Enough for finding the cause; without a limit every refused frame of a fleet would travel twice.
BURST = 20
PER_S = 1.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`frame_bytes` is the size of the frame, `frame` its bytes, None if they are left out."""

    device: str
    key: tuple[int, int] | None
    reason: str
    received_ms: float
    frame_bytes: int
    frame: bytes | None = None

    def as_json(self, most_bytes: int) -> bytes:
        """The letter as JSON, without the frame if it would exceed `most_bytes`."""
        boot, sequence = self.key or (None, None)
        fields: dict[str, object] = {
            "device": self.device,
            "boot": None if boot is None else f"{boot:016x}",
            "sequence": sequence,
            "reason": self.reason,
            "received_ms": self.received_ms,
            "bytes": self.frame_bytes,
            "frame": None,
        }
        if self.frame is not None and _base64_bytes(len(self.frame)) <= most_bytes:
            fields["frame"] = base64.b64encode(self.frame).decode("ascii")
        made = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        if len(made) > most_bytes and self.frame is not None:
            return replace(self, frame=None).as_json(most_bytes)
        return made


class Allowance:
    """Allows `BURST` letters at once, then one a second; the clock comes in as an argument."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether another may be published now."""
        if self._at_s is not None:
            self._left = min(float(BURST), self._left + (now_s - self._at_s) * PER_S)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def parse(data: bytes | bytearray | memoryview) -> DeadLetter:
    """A message on `dead`; FrameError says what is wrong with anything else. Unknown keys are allowed."""
    found = bytes(data)
    try:
        fields: Any = strict_json.parse(found)
        boot, sequence, frame = fields["boot"], fields["sequence"], fields["frame"]
        letter = DeadLetter(
            device=str(fields["device"]),
            key=None if boot is None else (int(boot, 16), int(sequence)),
            reason=str(fields["reason"]),
            received_ms=float(fields["received_ms"]),
            frame_bytes=int(fields["bytes"]),
            frame=None if frame is None else base64.b64decode(frame, validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise errors.FrameError(f"dead letter is {found[:60]!r}, expected device, reason and frame") from problem
    if letter.frame is not None and len(letter.frame) != letter.frame_bytes:
        raise errors.FrameError(f"dead letter holds {len(letter.frame)} bytes, it says {letter.frame_bytes}")
    return letter


def _base64_bytes(raw_bytes: int) -> int:
    return -(-raw_bytes // 3) * 4
