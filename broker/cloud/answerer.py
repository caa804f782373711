"""Answers frames without any transport: an encoded frame goes in, the messages to publish come out.

Stateless and idempotent: the same frame always gets the same answer. So a frame may be computed again after a worker
died, in another process or on another machine. What the tail of a stream keeps comes with the frame, and leaves with
the answer.
"""

import contextlib
import enum
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice

from broker.cloud.tail import Tails
from broker.messages import acks, chunks, results, wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs
from tflsplit.values.classes import dataclass, field, replace

log = logging.getLogger(__name__)


class Refused(str, enum.Enum):
    """Why a frame got no result. `broker.cloud.subscriber` refuses with `CHUNK` and `BUSY`, the pool with `POISON`."""

    BAD_TOPIC = "bad_topic"
    BAD_FRAME = "bad_frame"  # damaged, or from a newer version
    WRONG_PACKAGE = "wrong_package"
    WRONG_CUT = "wrong_cut"
    FAILED = "failed"  # the tail could not be run on it
    POISON = "poison"  # several workers died or hung on it
    CHUNK = "chunk"  # a part of a frame whose other parts go to other clouds
    STATE = results.STATE  # the state that its stream has left is not here
    BUSY = results.BUSY  # its device has as many frames waiting as it may; it is to be sent again later
    TOO_LARGE = results.TOO_LARGE


# What settles nothing: the same frame may come again and have its result.
COMES_AGAIN = (Refused.BUSY, Refused.STATE)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a tail keeps of a stream after `steps` frames."""

    state: bytes
    steps: int


@dataclass(slots=True)
class Job:
    """One whole frame of one device. `received_ms` is when it came, in ms since the epoch by this machine's clock;
    `arrived_at_s` is the same by the monotonic clock of this process, which nobody sets. `is_exact` says whether the
    head gave what it would have given here, None if that is not known. `kept` is what the frames before it in its
    stream have left; None where it begins one, or is alone. `checksum` is the frame's, where it is known already."""

    device: str
    encoded: feature_codec.Buffer
    received_ms: float
    arrived_at_s: float = field(default_factory=time.monotonic, compare=False)
    is_exact: bool | None = None
    kept: Kept | None = None
    checksum: int | None = field(default=None, compare=False)


@dataclass(slots=True)
class Answer:
    """What to publish for a frame: `result` on its device's results, one message a line where the frame held several
    inputs, and `ack` on its acks if it asked for one.

    `key` is (boot, sequence), None if the frame is too damaged to tell. `refused` says why there is no result, `error`
    in words; None for a result. `queue_s` is the wait before decoding, `decode_s` decoding and preprocessing. `kept`
    is what is left for the next frame of its stream.
    """

    key: tuple[int, int] | None
    result: bytes
    ack: bytes | None = None
    refused: Refused | None = None
    error: str = ""
    queue_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0
    kept: Kept | None = None

    @property
    def results(self) -> list[bytes]:
        """The messages on the device's results."""
        return self.result.split(b"\n")  # JSON of ours has no line breaks

    @property
    def masks_left_out(self) -> int:
        return self.result.count(results.MASK_LEFT_OUT)

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
        """Never raises: a frame without a result is refused with the reason."""
        read = self._read(job)
        return read if isinstance(read, Answer) else self._run([read])[0]

    def answer_all(self, jobs: Sequence[Job]) -> list[Answer]:
        """Answers in the order of `jobs`; frames of one cut are run as a batch if that is quicker."""
        read = [self._read(job) for job in jobs]
        groups: dict[tuple[bytes, int], list[_Read]] = {}
        for each in read:
            if isinstance(each, _Read):
                groups.setdefault((each.frame.package, each.frame.cut), []).append(each)
        answered = {
            id(each): answer for group in groups.values() for each, answer in zip(group, self._run(group), strict=True)
        }
        return [each if isinstance(each, Answer) else answered[id(each)] for each in read]

    def batches_from(self, job: Job) -> int:
        """From how many frames of this one's cut a batch is quicker than single runs; 0 if never, or without a tail."""
        with contextlib.suppress(errors.TflsplitError):
            label = wire.peek(job.encoded)
            if label.package in self._tails:
                return self._tails[label.package].batches_from(label.cut)
        return 0

    def close(self) -> None:
        for tails in self._tails.values():
            tails.close()

    def _read(self, job: Job) -> "_Read | Answer":
        """The decoded frame, or its refusal."""
        started_s = time.monotonic()
        try:
            unsealed = wire.unseal(job.encoded, found=job.checksum)
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
            # Decoded only after the boundary was checked, because it says how much memory the payload takes.
            boundary = tails.preprocess(frame, unsealed.arrays())
        except errors.FrameError as problem:
            return refusal(job, str(problem), Refused.BAD_FRAME)
        except Exception:  # noqa: BLE001 - logged there
            return _failed(job)
        queue_s = max(0.0, started_s - job.arrived_at_s)
        return _Read(job, tails, frame, cut, boundary, queue_s, time.monotonic() - started_s)

    def _run(self, group: "Sequence[_Read]") -> list[Answer]:
        """Runs frames of one cut."""
        tails, cut, began_s = group[0].tails, group[0].cut, time.monotonic()
        if tails.package.manifest.is_stateful:
            return [self._step(each) for each in group]
        try:
            computed = iter(tails.run_all(cut, [row for each in group for row in each.rows]))
        except Exception:  # noqa: BLE001 - logged below
            if len(group) == 1:
                return [_failed(group[0].job)]
            # One of them may be the cause, and must not fail the others.
            return [self._run([each])[0] for each in group]
        done_s = time.monotonic()
        return [_answer(each, list(islice(computed, each.frame.inputs)), began_s, done_s) for each in group]

    def _step(self, read: "_Read") -> Answer:
        """Runs a frame of a stream, from what those before it have left."""
        before, began_s = read.job.kept, time.monotonic()
        try:
            arrays, state = read.tails.step(read.cut, None if before is None else before.state, read.boundary)
        except Exception:  # noqa: BLE001 - logged there
            return _failed(read.job)
        kept = Kept(state, 1 if before is None else before.steps + 1)
        return _answer(read, [arrays], began_s, time.monotonic(), kept)

    def _wrong_package(self, frame: wire.Frame) -> str:
        served = ", ".join(f"{digest.hex()} ({each.package.manifest.name})" for digest, each in self._tails.items())
        return f"frame of package {frame.package.hex()}, this cloud serves {served}; give both sides the same package"


def fitted(job: Job, answer: Answer, overhead_bytes: int, limit: int) -> Answer:
    """The answer without the masks that do not fit packets of at most `limit` bytes, which take so many bytes beside a
    result; a refusal if it does not fit then either."""
    if len(answer.result) + overhead_bytes <= limit:  # all of them together: so each alone
        return answer
    most_bytes = limit - overhead_bytes
    fitting = [each if len(each) <= most_bytes else results.without_mask(each) for each in answer.results]
    longest = max(map(len, fitting))
    if longest > most_bytes:
        return refusal(job, results.not_fitting(longest, limit), Refused.TOO_LARGE)
    return replace(answer, result=b"\n".join(fitting))


def refusal(job: Job, reason: str, refused: Refused) -> Answer:
    """The answer to a frame without a result. It names the frame, if that can be read, so that its edge stops
    sending."""
    key, wants_ack = _identity(job.encoded)
    boot, sequence = key or (None, None)
    said = results.Refusal(job.device, boot, sequence, reason, time.time() * 1e3, refused.value).as_json()
    ack = acks.Acknowledgement(job.device, *key, reason, refused.value).as_json() if key and wants_ack else None
    return Answer(key, said, ack, refused, reason)


def _identity(encoded: feature_codec.Buffer) -> tuple[tuple[int, int] | None, bool]:
    """(boot, sequence) and whether an acknowledgement is wanted, of a frame or of a chunk of one, if it can be read.

    Only the first chunk of a frame carries the frame's header, and with it the wish for an acknowledgement.
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


def _failed(job: Job) -> Answer:
    """Called from an `except`: a bug, or an interpreter that failed. One frame must not end the cloud for all."""
    log.exception("frame failed device=%s", job.device)
    return refusal(job, "the cloud failed on this frame; see its log", Refused.FAILED)


@dataclass(slots=True)
class _Read:
    """A decoded frame, and how long it waited and was decoded."""

    job: Job
    tails: Tails
    frame: wire.Frame
    cut: Cut
    boundary: tuple[Array, ...]
    queue_s: float
    decode_s: float

    @property
    def rows(self) -> list[tuple[Array, ...]]:
        """The boundary of each of its inputs."""
        count = self.frame.inputs
        if count == 1:
            return [self.boundary]
        return [tuple(array[row : row + 1] for array in self.boundary) for row in range(count)]


def _answer(
    read: _Read, computed: Sequence[tuple[Array, ...]], began_s: float, done_s: float, kept: Kept | None = None
) -> Answer:
    """`began_s` and `done_s` are of the tail's run, or of the batch's."""
    frame = read.frame
    made = [_result(read, place, arrays, done_s - began_s, kept) for place, arrays in enumerate(computed)]
    key = (frame.boot, frame.sequence)
    return Answer(
        key,
        b"\n".join(made),
        acks.Acknowledgement(read.job.device, *key).as_json() if frame.wants_ack else None,
        queue_s=read.queue_s,
        decode_s=read.decode_s,
        tail_s=done_s - began_s,
        kept=kept,
    )


def _result(read: _Read, place: int, arrays: tuple[Array, ...], tail_s: float, kept: Kept | None) -> bytes:
    """Of the input at that place in the frame."""
    job, frame, manifest = read.job, read.frame, read.tails.package.manifest
    answer = outputs.of(manifest, arrays, source=frame.sizes[place] if frame.sizes else None)
    raw = zip(manifest.results, arrays, strict=True) if frame.wants_raw else ()
    return results.Result(
        device=job.device,
        boot=frame.boot,
        sequence=frame.sequence + place,
        cut=read.cut.id,
        package=read.tails.package_digest,
        times=results.Times(
            captured_ms=(frame.captured_ns, *frame.later_ns)[place] / 1e6,
            head_ms=frame.head_us / 1e3,
            received_ms=job.received_ms,
            queue_ms=read.queue_s * 1e3,
            decode_ms=read.decode_s * 1e3,
            tail_ms=tail_s * 1e3,
            sent_ms=time.time() * 1e3,
        ),
        top=tuple([results.Score(label, score) for label, score in answer.top]),
        values=answer.values,
        found=answer.found,
        outputs=tuple(results.Output.of(spec, array) for spec, array in raw),
        pixels=frame.pixels,
        is_exact=False if frame.is_lossy else job.is_exact,
        bits=frame.bits,
        step=None if kept is None else kept.steps,
        first=frame.sequence if frame.later_ns else None,
        mask=results.mask_of(answer.found) if frame.wants_mask else None,
    ).as_json()
