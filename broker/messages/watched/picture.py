"""The `picture` of a device: a JPEG as it is, so that whatever shows a camera on MQTT shows it. Not retained.

Which frame it is of stands in the JPEG's comment, where other readers pass it over:

    {"boot": "00c0ffee00c0ffee", "captured_ms": 1767225600000}

The capture time is that of the frame's result (`times.captured_ms`), by the device's clock.
"""

import json
import struct
from typing import Any

from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass

MOST_BYTES = 512 << 10
_START, _COMMENT, _SCAN = b"\xff\xd8", 0xFE, 0xDA


@dataclass(frozen=True, slots=True)
class Picture:
    jpeg: bytes
    boot: int
    captured_ms: float


def comment(boot: int, captured_ms: float) -> bytes:
    return json.dumps({"boot": f"{boot:016x}", "captured_ms": captured_ms}, separators=(",", ":")).encode()


def parse(payload: bytes) -> Picture:
    """FrameError for anything but a JPEG of at most `MOST_BYTES` with our comment. It is not decoded."""
    try:
        if len(payload) > MOST_BYTES:
            raise ValueError(f"{len(payload)} bytes, at most {MOST_BYTES} are accepted")
        told: Any = strict_json.parse_object(_comment_of(payload))
        boot, captured_ms = int(told["boot"], 16), told["captured_ms"]
        if type(captured_ms) not in (int, float):
            raise ValueError(f"captured_ms is {captured_ms!r:.40}")
        return Picture(payload, boot, float(captured_ms))
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as problem:
        raise errors.FrameError(f"picture begins with {payload[:20]!r}: {problem!r:.100}") from problem


def _comment_of(payload: bytes) -> bytes:
    """The first comment of a JPEG, which stands in a segment before the pixels."""
    if not payload.startswith(_START):
        raise ValueError("no JPEG")
    at = len(_START)
    while True:
        mark, kind, length = struct.unpack_from(">BBH", payload, at)
        if mark != 0xFF or kind == _SCAN or length < 2:
            raise ValueError("no comment before the pixels")
        if kind == _COMMENT:
            return payload[at + 4 : at + 2 + length]
        at += 2 + length
