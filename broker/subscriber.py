"""The cloud loop: take a frame, run its tail, publish the result, then acknowledge the frame.

A frame that was answered before is answered again from memory, not run again: its result may have been lost. One that
cannot be run is answered with the reason. Nothing here knows MQTT.
"""

import contextlib
import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from broker import chunks, results, topics, wire
from broker.tail import Tails
from broker.transport import Message, Transport
from tflsplit import answers, codec, errors
from tflsplit.cuts import Cut
from tflsplit.latency import percentiles, recent
from tflsplit.tensors import Array

log = logging.getLogger(__name__)

# How often the loop looks whether it was told to stop; no frame waits for it.
_LOOK_S = 0.2
# How long a stop may wait for a broker that is away, and how often it looks for room meanwhile.
_PATIENCE_S = 5.0
_RETRY_S = 0.01
# Results remembered for frames that come again: over 60 devices with a window of 64 each, at about 1 KB a result.
_REMEMBERED = 4096


@dataclass(slots=True)
class Summary:
    """Counters of one run. Frames `refused`, by reason, were answered with an error; results `unpublished` had no way
    out, and their frames will be sent again."""

    frames: int = 0
    results: int = 0
    duplicates: int = 0
    unpublished: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    tail_s: deque[float] = field(default_factory=recent)
    queue_s: deque[float] = field(default_factory=recent)

    def as_json(self) -> dict[str, object]:
        return {
            "frames": self.frames,
            "results": self.results,
            "duplicates": self.duplicates,
            "unpublished": self.unpublished,
            "refused": dict(self.refused),
            "tail_ms": percentiles(self.tail_s),
            "queue_ms": percentiles(self.queue_s),
        }


class Cloud:
    """Serves every device of one deployment. `stop` from anywhere ends `run` once what was received is answered."""

    def __init__(self, tails: Tails, transport: Transport, deployment: str) -> None:
        self.summary = Summary()
        self._tails = tails
        self._transport = transport
        self._filter = topics.every_device(deployment, topics.Kind.FEATURES)
        self._reassembler = chunks.Reassembler()
        self._answered: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._last_refusal: dict[str, str] = {}  # by device, so that a flood of one kind is one line in the log
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self, *, count: int | None = None) -> Summary:
        """Answer frames until stopped, or until `count` of them were answered with a result."""
        self._transport.subscribe(self._filter)
        while self.summary.results != count and not self._stopping.is_set():
            message = self._transport.receive(_LOOK_S)
            if message is not None:
                self._serve(message)
        if self._stopping.is_set():
            self._finish_accepted(time.monotonic())
        self._transport.flush(_PATIENCE_S)
        return self.summary

    def _finish_accepted(self, stopped_at_s: float) -> None:
        """Answer what had arrived when we were told to stop; later frames are left to their edges to send again."""
        while (message := self._transport.receive(0.0)) is not None and message.arrived_at_s <= stopped_at_s:
            self._serve(message)

    def _serve(self, message: Message) -> None:
        try:
            topic = topics.parse(message.topic)
        except errors.FrameError as problem:
            # A stranger's: it names no device that could be answered.
            self.summary.refused["bad_topic"] += 1
            log.warning("message ignored reason=%s", problem)
        else:
            answer = self._answer(topic.device, message)
            if answer is not None:
                self._publish(topics.topic(topic.deployment, topic.device, topics.Kind.RESULTS), answer, message.qos)
        self._transport.acknowledge(message)

    def _answer(self, device: str, message: Message) -> bytes | None:
        """The answer to one message, None where it is a chunk of a frame that is not whole yet."""
        try:
            encoded = self._reassembler.add(device, message.payload, message.arrived_at_s)
            return None if encoded is None else self._answer_frame(device, encoded, message.arrived_at_s)
        except errors.FrameError as problem:
            return self._refusal(device, message.payload, str(problem), "bad_frame")
        except Exception:
            # A bug, or an interpreter that died: one frame must not take the cloud down for all other devices.
            log.exception("frame failed device=%s", device)
            return self._refusal(device, message.payload, "the cloud failed on this frame; see its log", "failed")

    def _answer_frame(self, device: str, encoded: codec.Buffer, arrived_at_s: float) -> bytes:
        started_s = time.monotonic()
        received_ms = (time.time() - (started_s - arrived_at_s)) * 1e3
        frame, arrays = wire.decode(encoded)
        self.summary.frames += 1
        key = (device, frame.boot, frame.sequence)
        if key in self._answered:
            self.summary.duplicates += 1
            return self._answered[key]
        cut = self._tails.cut_of(frame)
        boundary = self._tails.preprocess(frame, arrays)
        decoded_s = time.monotonic()
        outputs = self._tails.run(cut, boundary)
        tail_s = time.monotonic() - decoded_s
        times = results.Times(
            captured_ms=frame.captured_ns / 1e6,
            head_ms=frame.head_us / 1e3,
            received_ms=received_ms,
            queue_ms=(started_s - arrived_at_s) * 1e3,
            decode_ms=(decoded_s - started_s) * 1e3,
            tail_ms=tail_s * 1e3,
            sent_ms=time.time() * 1e3,
        )
        answer = self._result(device, frame, cut, times, outputs)
        self.summary.results += 1
        self.summary.tail_s.append(tail_s)
        self.summary.queue_s.append(started_s - arrived_at_s)
        self._remember(key, answer)
        return answer

    def _publish(self, topic: str, answer: bytes, qos: int) -> None:
        """Waits while the broker is away; once stopping, no longer than the patience of a stop."""
        give_up_s = None
        try:
            while not self._transport.try_publish(topic, answer, qos=qos):
                if self._stopping.is_set():
                    give_up_s = give_up_s or time.monotonic() + _PATIENCE_S
                    if time.monotonic() > give_up_s:
                        raise errors.BrokerError(
                            f"no room for a result on {topic} within {_PATIENCE_S:g} s of stopping"
                        )
                self._transport.flush(_RETRY_S)
        except errors.BrokerError as problem:
            self.summary.unpublished += 1
            log.error("result not published reason=%s", problem)

    def _result(
        self, device: str, frame: wire.Frame, cut: Cut, times: results.Times, outputs: tuple[Array, ...]
    ) -> bytes:
        manifest = self._tails.package.manifest
        answer = answers.read(manifest.results, outputs, manifest.labels)
        raw = zip(manifest.results, outputs, strict=True) if frame.wants_raw else ()
        return results.Result(
            device=device,
            boot=frame.boot,
            sequence=frame.sequence,
            cut=cut.id,
            package=self._tails.package.digest,
            times=times,
            top=tuple(results.Score(label, score) for label, score in answer.top),
            values=answer.values,
            outputs=tuple(results.Output.of(spec, array) for spec, array in raw),
            pixels=frame.pixels,
        ).as_json()

    def _refusal(self, device: str, payload: codec.Buffer, reason: str, counter: str) -> bytes:
        """Answered as far as the frame can say which one it is, so that its edge stops sending it."""
        self.summary.refused[counter] += 1
        if self._last_refusal.get(device) != reason:
            log.warning("frames refused device=%s reason=%s", device, reason)
        self._last_refusal[device] = reason
        if len(self._last_refusal) > _REMEMBERED:
            self._last_refusal.clear()
        boot = sequence = None
        with contextlib.suppress(errors.FrameError):
            frame = wire.describe(payload)
            boot, sequence = frame.boot, frame.sequence
        return results.Refusal(device, boot, sequence, reason, time.time() * 1e3).as_json()

    def _remember(self, key: tuple[str, int, int], answer: bytes) -> None:
        self._answered[key] = answer
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
