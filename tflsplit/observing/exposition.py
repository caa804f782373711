"""Metrics as Prometheus reads them. The only door to prometheus-client, which is imported when somebody asks for it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tflsplit import errors, extras
from tflsplit.observing.metrics import Distribution, Family, Kind

if TYPE_CHECKING:
    from prometheus_client import Metric as Exposed

Collect = Callable[[], Iterable[Family]]
Render = Callable[[str], tuple[bytes, str]]


def renderer(collect: Collect) -> Render:
    """A function that writes the present values, and memory and CPU time of this process, as a document: it takes an
    HTTP request's Accept header and returns the document with its type. SettingsError without prometheus-client."""
    try:
        from prometheus_client import ProcessCollector
        from prometheus_client.exposition import choose_encoder
    except ImportError as cause:
        raise errors.SettingsError(extras.need("/metrics", "prometheus_client")) from cause
    process = ProcessCollector(registry=None)

    def render(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(_Collected(collect, process.collect)), content_type

    return render


class _Collected:
    """What prometheus-client's encoders take as a registry."""

    def __init__(self, ours: Collect, process: Callable[[], Iterable["Exposed"]]) -> None:
        self._ours = ours
        self._process = process

    def collect(self) -> Iterator["Exposed"]:
        for family in self._ours():
            yield _exposed(family)
        yield from self._process()


def _exposed(family: Family) -> "Exposed":
    from prometheus_client import core

    metric = family.metric
    kinds: dict[Kind, Any] = {
        Kind.COUNTER: core.CounterMetricFamily,
        Kind.GAUGE: core.GaugeMetricFamily,
        Kind.HISTOGRAM: core.HistogramMetricFamily,
    }
    made = kinds[metric.kind](family.name, metric.help, labels=metric.labels)
    for sample in family.samples:
        if isinstance(sample.value, Distribution):
            made.add_metric(sample.labels, _cumulative(sample.value), sample.value.sum_s)
        else:
            made.add_metric(sample.labels, sample.value)
    return made  # type: ignore[no-any-return]  # one of the three above


def _cumulative(found: Distribution) -> list[tuple[str, float]]:
    bounds = (*(str(bound) for bound in found.bounds_s), "+Inf")
    return list(zip(bounds, accumulate(found.counts), strict=True))
