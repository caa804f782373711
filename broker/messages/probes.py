"""Probes, messages that measure a link, and their answers. A device sends them on its telemetry topic and is answered
on its control topic, which the broker's access rules allow.

    message   4s magic · u64 run · u32 number · filling
    answer    4s magic · u64 run · u32 number · f64 waited_s · zeros, to the size of an ordinary result

`waited_s` is how long the probe waited for whoever answered it, which is not the link's: 0 where that is not said.
"""

import math
import struct

from broker.messages import telemetry
from tflsplit.planning import network

_HEAD = struct.Struct("<4sQI")
_WAITED = struct.Struct("<d")
LEAST_BYTES = _HEAD.size


def message(run: int, number: int, filling: bytes) -> bytes:
    return _HEAD.pack(telemetry.PROBE_MAGIC, run, number) + filling


def is_one(payload: bytes) -> bool:
    return len(payload) >= LEAST_BYTES and payload[:4] == telemetry.PROBE_MAGIC


def number_of(payload: bytes, run: int) -> int | None:
    """The number in a probe or answer of this run; None for any other message."""
    if not is_one(payload):
        return None
    _, found_run, number = _HEAD.unpack_from(payload)
    return number if found_run == run else None


def answer_to(payload: bytes, waited_s: float = 0.0) -> bytes:
    """Of the size of an ordinary result, however large the probe is."""
    said = payload[:LEAST_BYTES] + _WAITED.pack(waited_s)
    return said + bytes(network.RESULT_BYTES - len(said))


def waited_s(answer: bytes) -> float:
    """As an answer says it; 0 for one that says nothing, or what cannot be."""
    if len(answer) < LEAST_BYTES + _WAITED.size:
        return 0.0
    found = float(_WAITED.unpack_from(answer, LEAST_BYTES)[0])
    return found if 0.0 < found < math.inf else 0.0
