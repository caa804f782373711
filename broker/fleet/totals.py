"""All devices of a deployment together, as a cloud exports them: sums of what they counted, how many are how slow or in
which state, and the worst by name. A scrape is the same few hundred lines, however many devices there are.

Of each device only some numbers are kept. A counter of the fleet grows by what a device's own grew since it told last;
what one had counted before it was heard first is not known to be new, and left out.
"""

import heapq
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from broker.messages.telemetry import Telemetry
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Distribution, Family, Metric, Sample
from tflsplit.timings.latency import BOUNDS_S
from tflsplit.values.classes import dataclass, field

# What Python needs for a device, and for all of 32,768 of them.
_DEVICE_BYTES, _MOST_BYTES = 1280, 40 << 20
MOST_DEVICES = _MOST_BYTES // _DEVICE_BYTES
# A device that was silent for so long is not counted any more; its status says that it is offline.
FORGET_S = 300.0
WORST = 10
_STATES = ("ok", "starting", "not ready", "stuck")
_OTHER = "other"
# Counters with their reasons; devices say the reasons.
_MOST_KEYS = 128
# Scraping gives way after so many devices, about a millisecond: the tails run in this process.
_TOGETHER = 500

_Key = tuple[str, tuple[str, ...]]  # the name of a counter and its labels
_Counts = dict[_Key, float]


@dataclass(slots=True)
class _Device:
    """As it told last. `heard_s` is by the clock that is given."""

    heard_s: float
    boot: int
    state: str
    p95_s: float | None
    is_down: bool
    is_full: bool
    counted: _Counts
    latencies: Distribution | None


@dataclass(slots=True)
class _Now:
    """What a scrape counts over the devices."""

    states: Counter[str] = field(default_factory=Counter)
    slow: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    slow_sum_s: float = 0.0
    down: int = 0
    full: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)
    quietest: list[tuple[float, str]] = field(default_factory=list)


class Totals:
    """Any thread may read `families`."""

    def __init__(self, deployment: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._deployment = deployment
        self._clock = clock
        self._devices: dict[str, _Device] = {}
        self._keys: dict[_Key, _Key] = {}
        self._sums: _Counts = {(metric.name, ()): 0.0 for metric in catalogue.SUMMED if not metric.labels}
        self._latencies = [0] * (len(BOUNDS_S) + 1)
        self._latencies_sum_s = 0.0
        self._left_out = self._bad = 0
        self._lock = threading.Lock()

    def told(self, device: str, said: Telemetry) -> None:
        known = self._devices.get(device)
        if known is None and len(self._devices) >= MOST_DEVICES:
            self._left_out += 1
            return
        now = _read(said, self._clock())
        with self._lock:
            now.counted = {self._key_of(key): value for key, value in now.counted.items()}
            if known is not None:
                self._add(known if known.boot == now.boot else _nothing(now), now)
            self._devices[device] = now

    def unreadable(self) -> None:
        self._bad += 1

    def families(self) -> Iterator[Family]:
        now_s, now, devices = self._clock(), _Now(), self._present()
        for begin in range(0, len(devices), _TOGETHER):
            for name, device in devices[begin : begin + _TOGETHER]:
                _count(now, name, device, now_s)
            time.sleep(0)
        here, fleet = (self._deployment,), catalogue.FLEET_PREFIX
        yield from self._summed(here)
        of_state = tuple(Sample(now.states[state], (*here, state)) for state in (*_STATES, _OTHER))
        yield Family(fleet, catalogue.FLEET_STATES, of_state)
        slow = Distribution(BOUNDS_S, tuple(now.slow), now.slow_sum_s)
        yield Family(fleet, catalogue.FLEET_SLOW, (Sample(slow, here),))
        yield Family(fleet, catalogue.FLEET_DOWN, (Sample(now.down, here),))
        yield Family(fleet, catalogue.FLEET_FULL, (Sample(now.full, here),))
        for metric, worst in ((catalogue.FLEET_SLOWEST, now.slowest), (catalogue.FLEET_QUIETEST, now.quietest)):
            yield Family(fleet, metric, tuple(Sample(value, (*here, name)) for value, name in sorted(worst)))
        yield Family(catalogue.CLOUD_PREFIX, catalogue.CLOUD_DEVICES, (Sample(len(devices), here),))
        yield Family(catalogue.CLOUD_PREFIX, catalogue.CLOUD_DEVICES_LEFT, (Sample(self._left_out, here),))
        yield Family(catalogue.CLOUD_PREFIX, catalogue.CLOUD_BAD_TELEMETRY, (Sample(self._bad, here),))

    def _summed(self, here: tuple[str, ...]) -> Iterator[Family]:
        with self._lock:
            sums = dict(self._sums)
            latencies = Distribution(BOUNDS_S, tuple(self._latencies), self._latencies_sum_s)
        for metric in catalogue.SUMMED:
            found = tuple(
                Sample(value, (*here, *labels)) for (name, labels), value in sums.items() if name == metric.name
            )
            yield Family(catalogue.FLEET_PREFIX, catalogue.of_deployment(metric), found)
        latency = catalogue.of_deployment(catalogue.LATENCY)
        yield Family(catalogue.FLEET_PREFIX, latency, (Sample(latencies, here),))

    def _present(self) -> list[tuple[str, _Device]]:
        least_s = self._clock() - FORGET_S
        with self._lock:
            for name in [name for name, device in self._devices.items() if device.heard_s < least_s]:
                del self._devices[name]
            return list(self._devices.items())

    def _key_of(self, key: _Key) -> _Key:
        """The same object for all devices; what has too many reasons to be told apart is one of others."""
        if key not in self._keys and len(self._keys) >= _MOST_KEYS:
            key = key[0], (_OTHER,) * len(key[1])
        return self._keys.setdefault(key, key)

    def _add(self, before: _Device, now: _Device) -> None:
        """What grew."""
        for key, value in now.counted.items():
            self._sums[key] = self._sums.get(key, 0.0) + max(0.0, value - before.counted.get(key, 0.0))
        if now.latencies is not None:
            old = before.latencies
            for place, count in enumerate(now.latencies.counts):
                self._latencies[place] += max(0, count - (0 if old is None else old.counts[place]))
            self._latencies_sum_s += max(0.0, now.latencies.sum_s - (0.0 if old is None else old.sum_s))


def _read(said: Telemetry, now_s: float) -> _Device:
    families = {family.metric: family.samples for family in said.families}
    counted = {
        (metric.name, sample.labels): sample.value
        for metric in catalogue.SUMMED
        for sample in families.get(metric, ())
        if not isinstance(sample.value, Distribution)
    }
    p95_ms = said.latency_ms.get("p95")
    latencies = next((sample.value for sample in families.get(catalogue.LATENCY, ())), None)
    if isinstance(latencies, Distribution) and latencies.bounds_s == BOUNDS_S:
        latencies = Distribution(BOUNDS_S, latencies.counts, latencies.sum_s)  # with the bounds that all share
    else:  # of another version
        latencies = None
    return _Device(
        heard_s=now_s,
        boot=said.boot,
        state=said.state if said.state in _STATES else _OTHER,
        p95_s=None if p95_ms is None else p95_ms / 1e3,
        is_down=_flag(families, catalogue.ACCELERATOR_UP) is False,
        is_full=_flag(families, catalogue.SPOOL_FULL) is True,
        counted=counted,
        latencies=latencies,
    )


def _flag(families: Mapping[Metric, tuple[Sample, ...]], metric: Metric) -> bool | None:
    samples = families.get(metric, ())
    return bool(samples[0].value) if samples else None


def _nothing(now: _Device) -> _Device:
    """A device before it counted anything: it has begun anew since."""
    return _Device(now.heard_s, now.boot, now.state, None, now.is_down, now.is_full, {}, None)


def _count(now: _Now, name: str, device: _Device, now_s: float) -> None:
    now.states[device.state] += 1
    now.down += device.is_down
    now.full += device.is_full
    _keep_worst(now.quietest, (now_s - device.heard_s, name))
    if device.p95_s is not None:
        now.slow[bisect_left(BOUNDS_S, device.p95_s)] += 1
        now.slow_sum_s += device.p95_s
        _keep_worst(now.slowest, (device.p95_s, name))


def _keep_worst(worst: list[tuple[float, str]], one: tuple[float, str]) -> None:
    if len(worst) < WORST:
        heapq.heappush(worst, one)
    elif one > worst[0]:
        heapq.heapreplace(worst, one)
