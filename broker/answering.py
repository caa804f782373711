"""The cloud's side of a frame without any transport: an encoded frame goes in, what is to be published comes out.

Stateless and idempotent: the same frame gives the same answer, wherever and however often it is made. So a frame may
be done again after a worker died, in another process or on another machine.
"""

import enum
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker import acks, chunks, results, wire
from broker.tail import Tails
from tflsplit import answers, codec, errors
from tflsplit.cuts import Cut
from tflsplit.tensors import Array

log = logging.getLogger(__name__)


class Refused(str, enum.Enum):
    """Why a frame got no result; `CHUNK` and `POISON` are for whoever reassembles and runs workers."""

    BAD_TOPIC = "bad_topic"
    BAD_FRAME = "bad_frame"  # damaged, or of a newer sender
    WRONG_PACKAGE = "wrong_package"
    WRONG_CUT = "wrong_cut"
    FAILED = "failed"  # the tail could not be run on it
    POISON = "poison"  # workers died or hung on it, time and again
    CHUNK = "chunk"  # a part of a frame, where its other parts go elsewhere
    TOO_LARGE = "too_large"  # its result does not fit the broker's packet limit


@dataclass(frozen=True, slots=True)
class Job:
    """One whole frame of one device. `received_ms` is when it came, in ms since the epoch by this machine's clock."""

    device: str
    encoded: codec.Buffer
    received_ms: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What to publish for a frame: `result` on its device's results, `ack` on its acks if it asked for one.

    `key` is its (boot, sequence), None where it could not tell. `refused` is None for a result, else why there is none;
    `error` says it in words. `queue_s` is the wait for the tail's turn, `decode_s` decoding and preprocessing.
    """

    key: tuple[int, int] | None
    result: bytes
    ack: bytes | None = None
    refused: Refused | None = None
    error: str = ""
    queue_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0

    @property
    def held_bytes(self) -> int:
        return len(self.result) + len(self.ack or b"")


Done = Callable[[Answer], None]


class Answerer:
    """Answers frames of any of its packages. One thread at a time."""

    def __init__(self, tails: Sequence[Tails]) -> None:
        self._tails = {each.digest: each for each in tails}
        if len(self._tails) != len(tails):
            paths = ", ".join(str(each.package.path) for each in tails)
            raise errors.SettingsError(f"packages {paths}: two of them have the same digest; give each package once")

    def answer(self, job: Job) -> Answer:
        """Never raises: what cannot be answered with a result is refused with the reason."""
        started_s = time.monotonic()
        try:
            unsealed = wire.unseal(job.encoded)
        except errors.FrameError as problem:
            return refusal(job, str(problem), Refused.BAD_FRAME)
        frame = unsealed.frame
        tails = self._tails.get(frame.package)
        if tails is None:
            return refusal(job, self._wrong_package(frame), Refused.WRONG_PACKAGE)
        try:
            cut = tails.cut_of(frame)
        except errors.FrameError as problem:
            return refusal(job, str(problem), Refused.WRONG_CUT)
        try:
            # Only now: the payload takes as much memory as the boundary says, and by now that is the cut's.
            boundary = tails.preprocess(frame, unsealed.arrays())
            decoded_s = time.monotonic()
            outputs = tails.run(cut, boundary)
        except errors.FrameError as problem:
            return refusal(job, str(problem), Refused.BAD_FRAME)
        except Exception:
            # A bug, or an interpreter that died: one frame must not take the cloud down for all other devices.
            log.exception("frame failed device=%s", job.device)
            return refusal(job, "the cloud failed on this frame; see its log", Refused.FAILED)
        course = _Course(frame, cut, outputs, started_s, decoded_s, time.monotonic())
        return _result(job, tails, course)

    def answer_all(self, jobs: Sequence[Job]) -> list[Answer]:
        return [self.answer(job) for job in jobs]

    def close(self) -> None:
        for tails in self._tails.values():
            tails.close()

    def _wrong_package(self, frame: wire.Frame) -> str:
        served = ", ".join(f"{digest.hex()} ({each.package.manifest.name})" for digest, each in self._tails.items())
        return f"frame of package {frame.package.hex()}, this cloud serves {served}; give both sides the same package"


def refusal(job: Job, reason: str, refused: Refused) -> Answer:
    """Answered as far as the frame can say which one it is, so that its edge stops sending it."""
    key, wants_ack = _identity(job.encoded)
    boot, sequence = key or (None, None)
    said = results.Refusal(job.device, boot, sequence, reason, time.time() * 1e3).as_json()
    ack = acks.Acknowledgement(job.device, *key, reason).as_json() if key and wants_ack else None
    return Answer(key, said, ack, refused, reason)


def _identity(encoded: codec.Buffer) -> tuple[tuple[int, int] | None, bool]:
    """(boot, sequence) and whether an acknowledgement is wanted, of a frame or of a chunk of one, if it can be read.

    Only a frame's first chunk carries its header, so only there an acknowledgement's wish can be known.
    """
    key = None
    try:
        if chunks.is_chunk(encoded):
            key, is_first, body = chunks.peek(encoded)
            return key, is_first and wire.peek(body).wants_ack
        frame = wire.describe(encoded)
    except errors.FrameError:
        return key, False
    return (frame.boot, frame.sequence), frame.wants_ack


@dataclass(frozen=True, slots=True)
class _Course:
    """What became of one frame; times are by the monotonic clock."""

    frame: wire.Frame
    cut: Cut
    outputs: tuple[Array, ...]
    started_s: float
    decoded_s: float
    done_s: float


def _result(job: Job, tails: Tails, course: _Course) -> Answer:
    frame, manifest = course.frame, tails.package.manifest
    sent_ms = time.time() * 1e3
    started_ms = sent_ms - (time.monotonic() - course.started_s) * 1e3
    # Not below zero where the machine's clock was set back meanwhile.
    queue_ms = max(0.0, started_ms - job.received_ms)
    answer = answers.read(manifest.results, course.outputs, manifest.labels)
    raw = zip(manifest.results, course.outputs, strict=True) if frame.wants_raw else ()
    made = results.Result(
        device=job.device,
        boot=frame.boot,
        sequence=frame.sequence,
        cut=course.cut.id,
        package=tails.package_digest,
        times=results.Times(
            captured_ms=frame.captured_ns / 1e6,
            head_ms=frame.head_us / 1e3,
            received_ms=job.received_ms,
            queue_ms=queue_ms,
            decode_ms=(course.decoded_s - course.started_s) * 1e3,
            tail_ms=(course.done_s - course.decoded_s) * 1e3,
            sent_ms=sent_ms,
        ),
        top=tuple(results.Score(label, score) for label, score in answer.top),
        values=answer.values,
        outputs=tuple(results.Output.of(spec, array) for spec, array in raw),
        pixels=frame.pixels,
    )
    key = (frame.boot, frame.sequence)
    ack = acks.Acknowledgement(job.device, *key).as_json() if frame.wants_ack else None
    return Answer(
        key,
        made.as_json(),
        ack,
        queue_s=queue_ms / 1e3,
        decode_s=course.decoded_s - course.started_s,
        tail_s=course.done_s - course.decoded_s,
    )
