"""Probes, messages that measure a link, and their answers. A device sends them on its telemetry topic and is answered
on its control topic, which the broker's access rules allow.

    message   4s magic · u64 run · u32 number · filling, in answers to the size of an ordinary result
"""

import struct

from broker.messages import telemetry
from tflsplit.planning import network

_HEAD = struct.Struct("<4sQI")
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


def answer_to(payload: bytes) -> bytes:
    """Of the size of an ordinary result, however large the probe is."""
    return payload[:LEAST_BYTES] + bytes(network.RESULT_BYTES - LEAST_BYTES)
