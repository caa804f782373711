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
from tflsplit.latency import percentiles
from tflsplit.tensors import Array

log = logging.getLogger(__name__)

# How often the loop looks whether it was told to stop; no frame waits for it.
_LOOK_S = 0.2
# Results remembered for frames that come again: over 60 devices with a window of 64 each, at about 1 KB a result.
_REMEMBERED = 4096
_KEPT_LATENCIES = 10_000


@dataclass(slots=True)
class Summary:
    """Counters of one run. Frames `refused`, by reason, were answered with an error."""

    frames: int = 0
    results: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    tail_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))

    def as_json(self) -> dict[str, object]:
        return {
            "frames": self.frames,
            "results": self.results,
            "duplicates": self.duplicates,
            "refused": dict(self.refused),
            "tail_ms": percentiles(self.tail_s),
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
        self._transport.flush(_LOOK_S * 25)
        return self.summary

    def _serve(self, message: Message) -> None:
        topic = topics.parse(message.topic)
        try:
            encoded = self._reassembler.add(topic.device, message.payload, time.monotonic())
            answer = None if encoded is None else self._answer(topic.device, encoded)
        except errors.FrameError as problem:
            answer = self._refusal(topic.device, message.payload, str(problem), "bad_frame")
        except Exception:
            # A bug, or an interpreter that died: one frame must not take the cloud down for all other devices.
            log.exception("frame failed device=%s", topic.device)
            answer = self._refusal(
                topic.device, message.payload, "the cloud failed on this frame; see its log", "failed"
            )
        if answer is not None:
            reply_to = topics.topic(topic.deployment, topic.device, topics.Kind.RESULTS)
            self._transport.publish(reply_to, answer, qos=message.qos)
        self._transport.acknowledge(message)

    def _answer(self, device: str, encoded: codec.Buffer) -> bytes:
        received_ms, started_s = time.time() * 1e3, time.monotonic()
        frame, boundary = wire.decode(encoded)
        self.summary.frames += 1
        key = (device, frame.boot, frame.sequence)
        if key in self._answered:
            self.summary.duplicates += 1
            return self._answered[key]
        cut = self._tails.cut_of(frame)
        decoded_s = time.monotonic()
        outputs = self._tails.run(cut, boundary)
        tail_s = time.monotonic() - decoded_s
        times = results.Times(
            captured_ms=frame.captured_ns / 1e6,
            head_ms=frame.head_us / 1e3,
            received_ms=received_ms,
            queue_ms=0.0,
            decode_ms=(decoded_s - started_s) * 1e3,
            tail_ms=tail_s * 1e3,
            sent_ms=time.time() * 1e3,
        )
        answer = self._result(device, frame, cut, times, outputs)
        self.summary.results += 1
        self.summary.tail_s.append(tail_s)
        self._remember(key, answer)
        return answer

    def _result(
        self, device: str, frame: wire.Frame, cut: Cut, times: results.Times, outputs: tuple[Array, ...]
    ) -> bytes:
        manifest = self._tails.package.manifest
        answer = answers.read(manifest.outputs, outputs, manifest.labels)
        raw = zip(manifest.outputs, outputs, strict=True) if frame.wants_raw else ()
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
        ).as_json()

    def _refusal(self, device: str, payload: codec.Buffer, reason: str, counter: str) -> bytes:
        """Answered as far as the frame can say which one it is, so that its edge stops sending it."""
        self.summary.refused[counter] += 1
        log.warning("frame refused device=%s reason=%s", device, reason)
        boot = sequence = None
        with contextlib.suppress(errors.FrameError):
            frame = wire.describe(payload)
            boot, sequence = frame.boot, frame.sequence
        return results.Refusal(device, boot, sequence, reason, time.time() * 1e3).as_json()

    def _remember(self, key: tuple[str, int, int], answer: bytes) -> None:
        self._answered[key] = answer
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
