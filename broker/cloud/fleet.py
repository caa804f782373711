"""Keeps the last telemetry of each device of a deployment, which a cloud exports to Prometheus.

Listens over a connection of its own, so that telemetry never delays frames.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from broker.messages import telemetry, topics
from broker.messages.telemetry import Telemetry
from broker.transport.protocol import Message, Transport
from tflsplit import errors
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Family, Metric, Sample

log = logging.getLogger(__name__)

# Some 50 series each: a Prometheus of ordinary size takes them.
MOST_DEVICES = 1000
# A device that was silent for so long is not exported any more; its status says that it is offline.
FORGET_S = 300.0
_LOOK_S = 0.2


class Fleet:
    """Listens on a thread of its own from `start` until `close`. Any thread may read `families`.

    It keeps the first `MOST_DEVICES` devices, and only counts telemetry of others.
    """

    def __init__(
        self,
        transport: Transport,
        deployment: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._deployment = deployment
        self._clock = clock
        self._wall_clock = wall_clock
        self._left_out = 0
        self._bad = 0
        self._told: dict[str, tuple[float, float, Telemetry]] = {}  # when by `clock`, when since the epoch, and what
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"fleet-{deployment}", daemon=True)

    def start(self) -> None:
        """BrokerError if the broker does not let us read telemetry."""
        self._transport.subscribe(topics.every_device(self._deployment, topics.Kind.TELEMETRY), qos=0)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> "Fleet":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def families(self) -> Iterator[Family]:
        """One family for each metric, with a sample for each device; and the number of devices."""
        with self._lock:
            self._forget()
            told = dict(self._told)
            left_out, bad = self._left_out, self._bad
        here = (self._deployment,)
        by_metric: dict[Metric, list[Sample]] = {catalogue.DEVICE_TELEMETRY_AT: []}
        for device, (_, at_s, said) in told.items():
            by_metric[catalogue.DEVICE_TELEMETRY_AT].append(Sample(at_s, (*here, device)))
            for family in said.families:
                samples = by_metric.setdefault(catalogue.of_device(family.metric), [])
                samples += [replace(sample, labels=(*here, device, *sample.labels)) for sample in family.samples]
        for metric, found in by_metric.items():
            yield Family(catalogue.DEVICE_PREFIX, metric, tuple(found))
        yield Family(catalogue.CLOUD_PREFIX, catalogue.CLOUD_DEVICES, (Sample(len(told), here),))
        yield Family(catalogue.CLOUD_PREFIX, catalogue.CLOUD_DEVICES_LEFT, (Sample(left_out, here),))
        yield Family(catalogue.CLOUD_PREFIX, catalogue.CLOUD_BAD_TELEMETRY, (Sample(bad, here),))

    def take(self, message: Message) -> None:
        """Handles any message on a telemetry topic."""
        if telemetry.is_for_others(message.payload):
            return
        try:
            device = topics.parse(message.topic).device
            said = telemetry.parse(message.payload)
        except errors.FrameError as problem:
            self._bad += 1
            log.debug("telemetry ignored topic=%s reason=%s", message.topic, problem)
            return
        with self._lock:
            self._forget()
            if device in self._told or len(self._told) < MOST_DEVICES:
                self._told[device] = (self._clock(), self._wall_clock(), said)
            else:
                self._left_out += 1

    def _forget(self) -> None:
        least_s = self._clock() - FORGET_S
        for device in [device for device, (heard_s, *_) in self._told.items() if heard_s < least_s]:
            del self._told[device]

    def _listen(self) -> None:
        while not self._stopping.is_set():
            message = self._transport.receive(_LOOK_S)
            if message is not None:
                self.take(message)
                self._transport.acknowledge(message)
