"""The messages between a dispatcher and its worker processes: frames one way, answers the other, without pickle.

    jobs     u16 count · each: f64 received_ms · f64 waited_s · u16 device bytes · u32 frame bytes · i8 exact
             (-1: not known) · device · frame
    answers  u16 count · u16 batches from · each: u8 refused · u8 has key · u64 boot · u64 sequence
             · f64 queue_s · f64 decode_s · f64 tail_s · u32 result bytes · i32 ack bytes (-1: none) · u32 error bytes
             · result · ack · error

`batches from` is from how many frames of the first one's cut a batch is quicker, 0 if never. `waited_s` is from a
frame's arrival to now: monotonic clocks of two machines have nothing in common. Both ends are of one version. The bytes
of a frame come from the network and are not read here.
"""

import struct
import time
from collections.abc import Sequence

from broker.cloud.answerer import Answer, Job, Refused

READY = b"ready"
MAX_BYTES = 1 << 30

_COUNT = struct.Struct("<H")
_JOB = struct.Struct("<ddHIb")
_COUNT_AND_BATCH = struct.Struct("<HH")
_ANSWER = struct.Struct("<BBQQdddIiI")
_REFUSALS = (None, *Refused)


def pack_jobs(jobs: Sequence[Job]) -> bytes:
    parts: list[bytes | bytearray | memoryview] = [_COUNT.pack(len(jobs))]
    for job in jobs:
        device, waited_s = job.device.encode(), time.monotonic() - job.arrived_at_s
        exact = -1 if job.is_exact is None else job.is_exact
        parts += (_JOB.pack(job.received_ms, waited_s, len(device), len(job.encoded), exact), device, job.encoded)
    return b"".join(parts)


def unpack_jobs(data: bytes) -> list[Job]:
    """The jobs, whose frames are views of `data`."""
    view, offset, now_s = memoryview(data), _COUNT.size, time.monotonic()
    jobs = []
    for _ in range(_COUNT.unpack_from(data)[0]):
        received_ms, waited_s, device_bytes, frame_bytes, exact = _JOB.unpack_from(data, offset)
        offset += _JOB.size
        device = bytes(view[offset : offset + device_bytes]).decode()
        offset += device_bytes
        is_exact = None if exact < 0 else bool(exact)
        jobs.append(Job(device, view[offset : offset + frame_bytes], received_ms, now_s - waited_s, is_exact))
        offset += frame_bytes
    return jobs


def pack_answers(answers: Sequence[Answer], batches_from: int = 0) -> bytes:
    parts = [_COUNT_AND_BATCH.pack(len(answers), batches_from)]
    for answer in answers:
        error = answer.error.encode()
        ack_bytes = -1 if answer.ack is None else len(answer.ack)
        parts += (
            _ANSWER.pack(
                _REFUSALS.index(answer.refused),
                answer.key is not None,
                *(answer.key or (0, 0)),
                answer.queue_s,
                answer.decode_s,
                answer.tail_s,
                len(answer.result),
                ack_bytes,
                len(error),
            ),
            answer.result,
            answer.ack or b"",
            error,
        )
    return b"".join(parts)


def unpack_answers(data: bytes) -> tuple[list[Answer], int]:
    """The answers, and `batches from`."""
    count, batches_from = _COUNT_AND_BATCH.unpack_from(data)
    offset = _COUNT_AND_BATCH.size
    answers = []
    for _ in range(count):
        refused, has_key, boot, sequence, queue_s, decode_s, tail_s, *lengths = _ANSWER.unpack_from(data, offset)
        offset += _ANSWER.size
        texts = []
        for length in lengths:
            texts.append(data[offset : offset + max(0, length)])
            offset += max(0, length)
        result, ack, error = texts
        answers.append(
            Answer(
                (boot, sequence) if has_key else None,
                result,
                None if lengths[1] < 0 else ack,
                _REFUSALS[refused],
                error.decode(),
                queue_s,
                decode_s,
                tail_s,
            )
        )
    return answers, batches_from
