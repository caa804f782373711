"""The edge loop: take an input, run the head, send the boundary, and hold each frame until its result is back.

Two threads: this one computes and hands frames to the transport, which sends them while the next input is computed;
another takes in results and sends again what was not answered. Nothing here knows MQTT.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from broker import chunks, results, topics, wire
from broker.transport import ConnectionState, Transport, publish_packet_bytes
from edge_runtime import sending
from edge_runtime.accelerators.service import Condition
from edge_runtime.frames import Input, Source
from edge_runtime.head import Head
from edge_runtime.summary import Summary
from edge_runtime.window import Sent, Window
from tflsplit import errors
from tflsplit.inputcodec import InputCodec
from tflsplit.package import Package
from tflsplit.tensors import Array

log = logging.getLogger(__name__)

# How often the loops look whether they were told to stop; no frame waits for it.
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Settings:
    """How an edge runs. `count` frames, then it ends (None: until the source does); at most `rate_fps` a second.

    `window` frames may be unanswered; one unanswered for `resend_after_s` is sent again. At the end up to `drain_s`
    are spent on waiting for the results that are still out. `input_codec` says how the input travels at the cut
    `input` (None: as stored); pixels, raw or as JPEG, need a source that gives them.
    """

    deployment: str
    device: str
    boot: int
    qos: int = 1
    window: int = 8
    count: int | None = None
    rate_fps: float | None = None
    resend_after_s: float = 5.0
    drain_s: float = 30.0
    input_codec: InputCodec | None = None

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        topics.check_name("device", self.device)
        if self.qos not in (0, 1):
            raise errors.SettingsError(f"QoS {self.qos}: frames travel at QoS 0 or 1")
        if not 1 <= self.window <= 4096:
            raise errors.SettingsError(f"window of {self.window} frames: give 1 to 4096")
        if self.count is not None and self.count < 1:
            raise errors.SettingsError(f"count of {self.count} frames: give at least 1")
        if self.rate_fps is not None and not self.rate_fps > 0:
            raise errors.SettingsError(f"rate of {self.rate_fps} frames a second: give more than 0")
        if not self.resend_after_s > 0:
            raise errors.SettingsError(f"sending again after {self.resend_after_s} s: give more than 0")


class Edge:
    """One device's stream through one head. `run` may be called once; `stop` from anywhere ends it in good order."""

    def __init__(
        self,
        package: Package,
        head: Head,
        transport: Transport,
        settings: Settings,
        *,
        on_result: Callable[[results.Result], None] = lambda result: None,
    ) -> None:
        self.summary = Summary(accelerator=head.counters)
        self._package = package
        self._head = head
        self._transport = transport
        self._settings = settings
        self._on_result = on_result
        self._window = Window(settings.window)
        self._sending = sending.of(package, head.cut, settings.input_codec)
        self._digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
        self._features = topics.topic(settings.deployment, settings.device, topics.Kind.FEATURES)
        self._births = topics.topic(settings.deployment, settings.device, topics.Kind.BIRTH)
        self._stopping = threading.Event()
        self._drained = threading.Event()
        self._failure: Exception | None = None
        self._answered_at_s = time.monotonic()
        self._is_unanswered = False
        self._announced: Condition | None = None

    def stop(self) -> None:
        """Take no further input; what was sent is still waited for."""
        self._stopping.set()
        self._head.interrupt()

    def run(self, source: Source) -> Summary:
        """Stream the source until it ends, `count` is reached or `stop` is called; then wait for the last results."""
        if source.gives_pixels != (self._sending.pixels is not None):
            given = "pixels" if source.gives_pixels else "inputs as the model stores them"
            raise errors.SettingsError(f"the source gives {given}: open it for input codec {self._sending.input_codec}")
        name = (self._settings.deployment, self._settings.device)
        self._transport.subscribe(topics.topic(*name, topics.Kind.RESULTS), qos=self._settings.qos)
        self._announced = self._head.condition
        self._transport.publish(self._births, self._birth(self._announced), qos=1, retain=True)
        collector = threading.Thread(target=self._collect, name="edge-results", daemon=True)
        collector.start()
        try:
            for sequence, taken in enumerate(self._paced(source)):
                self._send(sequence, taken)
            self._wait_for_results()
        except (errors.DataError, errors.DeviceError):
            # A broken picture or an unplugged camera ends the stream; what was sent before it is still answered.
            self._wait_for_results()
            raise
        finally:
            self._drained.set()
            collector.join()
        if self._failure is not None:
            raise self._failure
        return self.summary

    def _wait_for_results(self) -> None:
        give_up_s = time.monotonic() + self._settings.drain_s
        while time.monotonic() < give_up_s and self._failure is None and not self._window.wait_until_empty(_LOOK_S):
            pass

    def _paced(self, source: Source) -> Iterator[Input]:
        """Inputs no faster than the rate, none before there is room for its frame, none once stopping."""
        settings = self._settings
        due_at_s = time.monotonic()
        for taken in source.inputs(repeats=settings.count is not None):
            yield taken
            if self.summary.frames == settings.count:
                return
            if settings.rate_fps is not None:
                due_at_s = max(due_at_s + 1 / settings.rate_fps, time.monotonic() - 1 / settings.rate_fps)
                self._stopping.wait(max(0.0, due_at_s - time.monotonic()))
            while not (self._window.wait_for_room(_LOOK_S) or self._stopping.is_set()):
                pass
            if self._stopping.is_set():
                return

    def _send(self, sequence: int, taken: Input) -> None:
        started_s = time.monotonic()
        boundary = self._run_head(sequence, taken)
        head_s = time.monotonic() - started_s
        frame = wire.Frame(
            package=self._digest,
            cut=self._head.cut.position,
            boot=self._settings.boot,
            sequence=sequence,
            captured_ns=taken.captured_ns,
            head_us=int(head_s * 1e6),
            boundary=self._sending.boundary,
            pixels=self._sending.pixels,
        )
        encoded = wire.encode(frame, boundary, self._sending.coder)
        captured_at_s = started_s - max(
            0.0, (time.time_ns() - taken.captured_ns) / 1e9 - (time.monotonic() - started_s)
        )
        self._window.add(Sent(sequence, encoded, captured_at_s, head_s, time.monotonic()))
        self.summary.frames += 1
        self._publish(encoded)

    def _run_head(self, sequence: int, taken: Input) -> tuple[Array, ...]:
        try:
            return self._head.run(taken.arrays)
        except errors.DeviceError as failure:
            self.summary.dropped["head_failed"] += 1
            log.error("frame lost sequence=%d reason=%s", sequence, failure)
            raise

    def _publish(self, encoded: bytes) -> None:
        """One packet, or chunks where the broker takes no packet that large; waits while the transport is full."""
        overhead = publish_packet_bytes(self._features, 0, qos=self._settings.qos, expires=False) + 3
        for packet in chunks.split(encoded, self._transport.max_packet_bytes - overhead):
            self._transport.publish(self._features, packet, qos=self._settings.qos)

    def _collect(self) -> None:
        try:
            while not self._drained.is_set():
                message = self._transport.receive(_LOOK_S)
                if message is not None:
                    self._take_result(message.payload)
                    self._transport.acknowledge(message)
                self._resend()
                self._announce()
        except Exception as failure:  # noqa: BLE001 - raised again by `run`, in the caller's thread
            # A thread's exception would be printed and forgotten, and the edge would wait for results for ever.
            self._failure = failure
            self._stopping.set()

    def _take_result(self, payload: bytes) -> None:
        arrived_at_s = time.monotonic()
        try:
            result = results.parse(payload)
        except errors.FrameError as problem:
            self.summary.dropped["bad_result"] += 1
            log.warning("result dropped reason=%s", problem)
            return
        if result.boot != self._settings.boot or result.sequence is None:
            self.summary.dropped["result_of_an_earlier_run"] += 1
            return
        self._note_answer(arrived_at_s)
        sent = self._window.settle(result.sequence)
        if sent is None:
            self.summary.duplicates += 1
        elif isinstance(result, results.Refusal):
            self.summary.refused += 1
            if result.error != self.summary.refusal:
                log.error("frames refused first_sequence=%d reason=%s", result.sequence, result.error)
            self.summary.refusal = result.error
        else:
            self.summary.results += 1
            self.summary.add_latency(
                latency_s=arrived_at_s - sent.captured_at_s, head_s=sent.head_s, tail_s=result.times.tail_ms / 1000
            )
            self._on_result(result)

    def _resend(self) -> None:
        now_s = time.monotonic()
        if self._transport.state is not ConnectionState.ONLINE:
            # The transport still holds them; copies would fill its queue while the broker is away.
            self._window.postpone(now_s)
        overdue = self._window.overdue(now_s, self._settings.resend_after_s)
        if overdue and not self._is_unanswered and now_s - self._answered_at_s >= self._settings.resend_after_s:
            self._is_unanswered = True
            log.warning(
                "no answers deployment=%s unanswered=%d; sending again until a cloud answers",
                self._settings.deployment,
                len(self._window),
            )
        for sent in overdue:
            self.summary.resent += 1
            self._publish(sent.encoded)

    def _note_answer(self, now_s: float) -> None:
        self._answered_at_s = now_s
        if self._is_unanswered:
            self._is_unanswered = False
            log.info("answers again deployment=%s resent=%d", self._settings.deployment, self.summary.resent)

    def _announce(self) -> None:
        """The birth again when frames run elsewhere than it said; at the next look if there is no room for it now."""
        condition = self._head.condition
        if condition != self._announced and self._transport.try_publish(
            self._births, self._birth(condition), qos=1, retain=True
        ):
            self._announced = condition

    def _birth(self, condition: Condition) -> bytes:
        """What this device sends and what computes it, in words for people and tools."""
        cut = self._head.cut
        return json.dumps(
            {
                "package": self._package.digest,
                "name": self._package.manifest.name,
                "calibration": self._package.manifest.calibration.kind,
                "cut": cut.id,
                "layer": cut.layer,
                "boot": f"{self._settings.boot:016x}",
                "accelerator": condition.as_json(),
            }
            | self._sending.as_json()
        ).encode()


def check(summary: Summary, settings: Settings) -> None:
    """PeerError if a run left frames without a result: FrameError with the cloud's reason where it refused them."""
    if summary.refused:
        raise errors.FrameError(f"the cloud refused {summary.refused} of {summary.frames} frames: {summary.refusal}")
    if summary.unanswered:
        raise errors.PeerError(
            f"{summary.unanswered} of {summary.frames} frames had no answer within {settings.drain_s:g} s of the last; "
            f"is a cloud of deployment {settings.deployment!r} running?"
        )
