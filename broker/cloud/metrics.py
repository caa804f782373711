"""The metrics and the health of a running cloud, for operators. Reads the counters of others when somebody asks."""

import time
from collections.abc import Iterator, Sequence
from importlib import metadata

from broker.cloud.answerer import Refused
from broker.cloud.engine import Engine
from broker.cloud.subscriber import Cloud
from broker.fleet.totals import Totals
from broker.transport import metrics
from broker.transport.protocol import ConnectionState, Transport
from tflsplit import errors
from tflsplit.kernels.heads import Standing
from tflsplit.observing import catalogue
from tflsplit.observing.health import STARTING, Health
from tflsplit.observing.metrics import Family, Metric, Sample
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass

# A tail may take seconds; a loop that did not look for frames for this long hangs in one.
STUCK_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """One deployment: its cloud, the cloud's connection, and the telemetry of its devices (None: not read)."""

    cloud: Cloud
    transport: Transport
    fleet: Totals | None = None


class CloudMetrics:
    """Empty until `attach`. Any thread may read it."""

    def __init__(self) -> None:
        self._packages: Sequence[Package] = ()
        self._engine: Engine | None = None
        self._served: tuple[Served, ...] = ()
        self._version = metadata.version("tflsplit")

    def attach(self, packages: Sequence[Package], engine: Engine, served: Sequence[Served]) -> None:
        """Before the clouds run."""
        self._packages, self._engine, self._served = tuple(packages), engine, tuple(served)

    def exchange(self, packages: Sequence[Package]) -> None:
        """Other packages are served now."""
        self._packages = tuple(packages)

    def health(self) -> Health:
        if self._engine is None:
            return STARTING
        now_s = time.monotonic()
        silent = {each.cloud.deployment: now_s - each.cloud.looked_at_s for each in self._served}
        offline = {each.cloud.deployment: each.transport.state.value for each in self._served}
        stuck = [name for name, silent_s in silent.items() if silent_s >= STUCK_S]
        away = [name for name, state in offline.items() if state != ConnectionState.ONLINE.value]
        broken = self._broken()
        why = broken
        if stuck:
            why = f"no frame of {', '.join(stuck)} was looked for in {max(silent.values()):.0f} s"
        elif away:
            reasons = dict.fromkeys(each.transport.last_failure for each in self._served if each.transport.last_failure)
            why = "; ".join((f"not connected to the broker for {', '.join(away)}", *map(str, reasons)))
        elif why is None:  # who has several brokers is ready for the devices of the others
            why = "; ".join(filter(None, dict.fromkeys(each.transport.absent for each in self._served))) or None
        facts: dict[str, object] = {
            "broker": offline,
            "since_look_s": {name: round(silent_s, 3) for name, silent_s in silent.items()},
            "held_frames": {each.cloud.deployment: each.cloud.held for each in self._served},
            "waiting_frames": self._engine.waiting,
        }
        return Health(not stuck and broken is None, not away and broken is None, why, facts)

    def families(self) -> Iterator[Family]:
        """Nothing before `attach`."""
        if self._engine is None:
            return
        yield _family(catalogue.CLOUD_BUILD, Sample(1, (self._version,)))
        named = tuple(Sample(1, (package.digest, package.manifest.name)) for package in self._packages)
        yield _family(catalogue.CLOUD_PACKAGE, *named)
        yield _family(catalogue.CLOUD_WAITING, Sample(self._engine.waiting))
        if self._engine.workers is not None:
            yield _family(catalogue.CLOUD_WORKERS, Sample(self._engine.workers))
        yield _family(catalogue.CLOUD_REPLACED, Sample(self._engine.counters.workers_replaced))
        yield _family(catalogue.CLOUD_REQUEUED, Sample(self._engine.counters.requeued))
        yield _family(catalogue.CLOUD_FORGOTTEN, Sample(self._engine.counters.states_forgotten))
        yield from _merged(family for each in self._served for family in _of(each))

    def _broken(self) -> str | None:
        if self._engine is not None:
            try:
                self._engine.check()
            except errors.DeviceError as broken:
                return str(broken)
        return None


def _of(served: Served) -> Iterator[Family]:
    cloud, summary, here = served.cloud, served.cloud.summary, (served.cloud.deployment,)
    for metric, value in (
        (catalogue.CLOUD_FRAMES, summary.frames),
        (catalogue.CLOUD_RESULTS, summary.results),
        (catalogue.CLOUD_DUPLICATES, summary.duplicates),
        (catalogue.CLOUD_LEFT, summary.left_to_others),
        (catalogue.CLOUD_UNPUBLISHED, summary.unpublished),
        (catalogue.CLOUD_LETTERS, summary.dead_letters),
        (catalogue.CLOUD_LETTERS_LEFT, summary.dead_letters_left_out),
        (catalogue.CLOUD_RATE_LIMITED, summary.rate_limited),
        (catalogue.CLOUD_ANSWERS_FORGOTTEN, summary.answers_forgotten),
        (catalogue.CLOUD_MASKS_LEFT, summary.masks_left_out),
        (catalogue.CLOUD_CHUNKED, summary.chunked.completed),
        (catalogue.CLOUD_CHUNKS_AGAIN, summary.chunked.duplicates),
        (catalogue.CLOUD_HELD, cloud.held),
        (catalogue.CLOUD_LAST_LOOK, time.time() - (time.monotonic() - cloud.looked_at_s)),
        (catalogue.CLOUD_QUEUE, metrics.distribution(summary.queue_s)),
        (catalogue.CLOUD_DECODE, metrics.distribution(summary.decode_s)),
        (catalogue.CLOUD_TAIL, metrics.distribution(summary.tail_s)),
    ):
        yield _family(metric, Sample(value, here))
    # Every reason is exported from the start: Prometheus sees no increase in a counter that first appears with 1.
    refused = ((why, summary.refused[why]) for why in Refused)
    yield _family(catalogue.CLOUD_REFUSED, *(Sample(count, (*here, why.value)) for why, count in refused))
    exact = ((each.value, summary.exactness[each]) for each in Standing)
    yield _family(catalogue.CLOUD_EXACT, *(Sample(count, (*here, name)) for name, count in exact))
    if cloud.exactness is not None:
        devices = cloud.exactness.devices
        yield _family(catalogue.CLOUD_BIRTHS_FORGOTTEN, Sample(cloud.exactness.forgotten, here))
        yield _family(catalogue.CLOUD_EXACT_DEVICES, *(Sample(devices[each], (*here, each.value)) for each in Standing))
    given_up = (Sample(count, (*here, why)) for why, count in summary.chunked.given_up.items())
    yield _family(catalogue.CLOUD_CHUNKED_GIVEN_UP, *given_up)
    for metric, samples in metrics.of_connection(served.transport):
        here_too = (Sample(sample.value, (*here, *sample.labels)) for sample in samples)
        yield _family(catalogue.of_deployment(metric), *here_too)
    away = served.transport.is_away
    yield _family(catalogue.CLOUD_BROKER_AWAY, *(Sample(is_so, (*here, name)) for name, is_so in away.items()))
    if served.fleet is not None:
        yield from served.fleet.families()


def _family(metric: Metric, *samples: Sample) -> Family:
    return Family(catalogue.CLOUD_PREFIX, metric, samples)


def _merged(families: Iterator[Family]) -> Iterator[Family]:
    """One family for each name: Prometheus refuses a document with a repeated name."""
    found: dict[tuple[str, Metric], list[Sample]] = {}
    for family in families:
        found.setdefault((family.prefix, family.metric), []).extend(family.samples)
    for (prefix, metric), samples in found.items():
        yield Family(prefix, metric, tuple(samples))
