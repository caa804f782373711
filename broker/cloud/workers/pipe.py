"""The messages between a dispatcher and its worker processes: frames one way, answers the other, without pickle.

    jobs     u16 count · each: f64 received_ms · f64 waited_s · u16 device bytes · u32 frame bytes · i8 exact
             (-1: not known) · i32 state bytes (-1: none) · u64 steps · device · frame · state
    answers  u16 count · u16 batches from · each: u8 refused · u8 has key · u64 boot · u64 sequence
             · f64 queue_s · f64 decode_s · f64 tail_s · u32 result bytes · i32 ack bytes (-1: none) · u32 error bytes
             · i32 state bytes (-1: none) · u64 steps · result · ack · error · state

`batches from` is from how many frames of the first one's cut a batch is quicker, 0 if never. `waited_s` is from a
frame's arrival to now: monotonic clocks of two machines have nothing in common. Both ends are of one version. The bytes
of a frame come from the network and are not read here.
"""

import struct
import time
from collections.abc import Sequence

from broker.cloud.answerer import Answer, Job, Kept, Refused

READY = b"ready"
MAX_BYTES = 1 << 30

_COUNT = struct.Struct("<H")
_JOB = struct.Struct("<ddHIbiQ")
_COUNT_AND_BATCH = struct.Struct("<HH")
_ANSWER = struct.Struct("<BBQQdddIiIiQ")
_REFUSALS = (None, *Refused)


def pack_jobs(jobs: Sequence[Job]) -> bytes:
    parts: list[bytes | bytearray | memoryview] = [_COUNT.pack(len(jobs))]
    for job in jobs:
        device, waited_s = job.device.encode(), time.monotonic() - job.arrived_at_s
        exact = -1 if job.is_exact is None else job.is_exact
        label = _JOB.pack(job.received_ms, waited_s, len(device), len(job.encoded), exact, *_kept_as(job.kept))
        parts += (label, device, job.encoded, b"" if job.kept is None else job.kept.state)
    return b"".join(parts)


def unpack_jobs(data: bytes) -> list[Job]:
    """The jobs, whose frames are views of `data`."""
    view, offset, now_s = memoryview(data), _COUNT.size, time.monotonic()
    jobs = []
    for _ in range(_COUNT.unpack_from(data)[0]):
        received_ms, waited_s, device_bytes, frame_bytes, exact, *of_kept = _JOB.unpack_from(data, offset)
        offset += _JOB.size
        device = bytes(view[offset : offset + device_bytes]).decode()
        offset += device_bytes
        is_exact = None if exact < 0 else bool(exact)
        frame = view[offset : offset + frame_bytes]
        offset += frame_bytes
        kept, offset = _kept(data, offset, *of_kept)
        jobs.append(Job(device, frame, received_ms, now_s - waited_s, is_exact, kept))
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
                *_kept_as(answer.kept),
            ),
            answer.result,
            answer.ack or b"",
            error,
            b"" if answer.kept is None else answer.kept.state,
        )
    return b"".join(parts)


def unpack_answers(data: bytes) -> tuple[list[Answer], int]:
    """The answers, and `batches from`."""
    count, batches_from = _COUNT_AND_BATCH.unpack_from(data)
    offset = _COUNT_AND_BATCH.size
    answers = []
    for _ in range(count):
        *fixed, result_bytes, ack_bytes, error_bytes, state_bytes, steps = _ANSWER.unpack_from(data, offset)
        refused, has_key, boot, sequence, queue_s, decode_s, tail_s = fixed
        offset += _ANSWER.size
        texts = []
        for length in (result_bytes, ack_bytes, error_bytes):
            texts.append(data[offset : offset + max(0, length)])
            offset += max(0, length)
        result, ack, error = texts
        kept, offset = _kept(data, offset, state_bytes, steps)
        answers.append(
            Answer(
                (boot, sequence) if has_key else None,
                result,
                None if ack_bytes < 0 else ack,
                _REFUSALS[refused],
                error.decode(),
                queue_s,
                decode_s,
                tail_s,
                kept,
            )
        )
    return answers, batches_from


def _kept_as(kept: Kept | None) -> tuple[int, int]:
    return (-1, 0) if kept is None else (len(kept.state), kept.steps)


def _kept(data: bytes, offset: int, state_bytes: int, steps: int) -> tuple[Kept | None, int]:
    """What is kept of a stream, and where it ends."""
    if state_bytes < 0:
        return None, offset
    ends = offset + state_bytes
    return Kept(bytes(data[offset:ends]), steps), ends
