"""What each device told last, as series of its own: for a process beside the clouds, since a scrape of a thousand
devices is 4 MB and takes half a second."""

import threading
import time
from collections.abc import Callable, Collection, Iterator

from broker.messages.telemetry import Telemetry
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Family, Metric, Sample
from tflsplit.values.classes import replace

# Some 50 series each: a Prometheus of ordinary size takes them.
MOST_DEVICES = 1000
# A device that was silent for so long is not exported any more; its status says that it is offline.
FORGET_S = 300.0


class Series:
    """Any thread may read `families`. It keeps the first `MOST_DEVICES` devices, or those that are `wanted`, and only
    counts telemetry of others."""

    def __init__(
        self,
        deployment: str,
        wanted: Collection[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._deployment = deployment
        self._wanted = frozenset(wanted)
        self._clock = clock
        self._wall_clock = wall_clock
        self._left_out = 0
        self._bad = 0
        self._told: dict[str, tuple[float, float, Telemetry]] = {}  # when by `clock`, when since the epoch, and what
        self._lock = threading.Lock()

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

    def told(self, device: str, said: Telemetry) -> None:
        if self._wanted and device not in self._wanted:
            return
        with self._lock:
            self._forget()
            if device in self._told or len(self._told) < MOST_DEVICES:
                self._told[device] = (self._clock(), self._wall_clock(), said)
            else:
                self._left_out += 1

    def unreadable(self) -> None:
        self._bad += 1

    def _forget(self) -> None:
        least_s = self._clock() - FORGET_S
        for device in [device for device, (heard_s, *_) in self._told.items() if heard_s < least_s]:
            del self._told[device]
