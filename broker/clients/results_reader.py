"""Reads the results of a deployment, each once, and acknowledges a result after it was handed on.

Brokers and clouds deliver at least once, so results may come twice. With a durable session the broker keeps results
while the reader is away. Nothing here knows MQTT.
"""

import logging
import threading
from collections.abc import Callable

from broker.messages import deduplication, results, topics
from broker.transport.protocol import Message, Transport
from tflsplit import errors
from tflsplit.recent import Recent
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

# How often the loop looks whether it was told to stop; no result waits for it.
_LOOK_S = 0.2
# The last refusals of 40,000 devices; what Python needs for one besides its text.
_NOTED_BYTES, _ENTRY_BYTES = 16 << 20, 300


@dataclass(slots=True)
class Summary:
    """`results` were handed on, `duplicates` not; `refused` frames have no result, `busy` ones none yet, `unreadable`
    messages are no answer. A second copy of a result of the devices that were `forgotten` is handed on."""

    results: int = 0
    duplicates: int = 0
    refused: int = 0
    unreadable: int = 0
    busy: int = 0
    forgotten: int = 0


class ResultsReader:
    """Reads the results of every device, or of one. `stop`, from any thread, ends `run`."""

    def __init__(self, transport: Transport, deployment: str, *, device: str | None = None) -> None:
        self.summary = Summary()
        self._transport = transport
        kind = topics.Kind.RESULTS
        self._filter = (
            topics.topic(deployment, device, kind) if device is not None else topics.every_device(deployment, kind)
        )
        self._deduplication = deduplication.Deduplication()
        self._noted: Recent[str, str] = Recent(_NOTED_BYTES)
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self, hand_on: Callable[[bytes], None], *, count: int | None = None) -> Summary:
        """Passes each result, as JSON on one line, to `hand_on`, until stopped or until there were `count`.

        A reader with a durable session that is killed between `hand_on` and the acknowledgement gets that result again.
        """
        self._transport.subscribe(self._filter)
        while self.summary.results != count and not self._stopping.is_set():
            message = self._transport.receive(_LOOK_S)
            if message is not None:
                self._take(message, hand_on)
                self._transport.acknowledge(message)
        return self.summary

    def _take(self, message: Message, hand_on: Callable[[bytes], None]) -> None:
        try:
            device = topics.parse(message.topic).device
            answer = results.parse(message.payload)
            if answer.device != device:
                raise errors.FrameError(f"result of {answer.device!r} on the topic of {device!r}")
        except errors.FrameError as problem:
            self.summary.unreadable += 1
            log.warning("result dropped topic=%r reason=%r", message.topic, str(problem))
            return
        if isinstance(answer, results.Refusal) and answer.is_busy:
            self.summary.busy += 1
        elif isinstance(answer, results.Refusal):
            self._note(answer)
        elif self._is_first(device, answer):
            # JSON has line breaks only between its tokens, never within a text.
            hand_on(message.payload.replace(b"\r", b" ").replace(b"\n", b" "))
            self.summary.results += 1
        else:
            self.summary.duplicates += 1

    def _is_first(self, device: str, answer: results.Result) -> bool:
        is_first = self._deduplication.is_first(device, answer.boot, answer.sequence)
        if self._deduplication.forgotten and not self.summary.forgotten:
            log.warning(
                "devices forgotten reason='the sequences of all take more than %d MiB'; results that come twice may be "
                "given twice; read fewer devices with each reader",
                deduplication.MOST_BYTES >> 20,
            )
        self.summary.forgotten = self._deduplication.forgotten
        return is_first

    def _note(self, refusal: results.Refusal) -> None:
        """Logs equal refusals of a device, one after the other, only once."""
        self.summary.refused += 1
        if self._noted.get(refusal.device) != refusal.error:
            log.warning("frames refused device=%s reason=%r", refusal.device, refusal.error)
        self._noted.put(refusal.device, refusal.error, _ENTRY_BYTES + len(refusal.error))
