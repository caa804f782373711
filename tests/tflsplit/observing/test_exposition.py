import sys

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from tflsplit import errors
from tflsplit.observing import exposition
from tflsplit.observing.metrics import Distribution, Family, Kind, Metric, Sample

FRAMES = Metric("frames_total", Kind.COUNTER, "Frames.")
DROPPED = Metric("dropped_total", Kind.COUNTER, "Dropped.", ("reason",))
DEPTH = Metric("depth", Kind.GAUGE, "Depth.")
LATENCY = Metric("latency_seconds", Kind.HISTOGRAM, "Latency.", ("part",))

FAMILIES = (
    Family("t_", FRAMES, (Sample(7),)),
    Family("t_", DROPPED, (Sample(1, ("late",)), Sample(2, ('"quoted"\n',)))),
    Family("t_", DEPTH, (Sample(0.5),)),
    Family("t_", LATENCY, (Sample(Distribution((0.1, 1.0), (3, 2, 1), 4.5), ("head",)),)),
)


def read(text, parse):
    samples = [sample for family in parse(text) for sample in family.samples if sample.name.startswith("t_")]
    return {(sample.name, *dict(sorted(sample.labels.items())).values()): sample.value for sample in samples}


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("text/plain", parser.text_string_to_metric_families),
        ("application/openmetrics-text;version=1.0.0", openmetrics.text_string_to_metric_families),
    ],
)
def test_what_is_exposed_is_read_back_by_prometheus_own_parsers(accept, parse):
    document, content_type = exposition.renderer(lambda: FAMILIES)(accept)
    found = read(document.decode(), parse)

    assert content_type.startswith(accept.split(";")[0])
    assert found["t_frames_total",] == 7
    assert found["t_dropped_total", "late"] == 1
    assert found["t_dropped_total", '"quoted"\n'] == 2
    assert found["t_depth",] == 0.5
    assert [found["t_latency_seconds_bucket", bound, "head"] for bound in ("0.1", "1.0", "+Inf")] == [3, 5, 6]
    assert found["t_latency_seconds_count", "head"] == 6
    assert found["t_latency_seconds_sum", "head"] == 4.5


def test_the_process_itself_is_measured():
    document, _ = exposition.renderer(lambda: ())("")

    assert b"process_resident_memory_bytes" in document


def test_without_the_library_metrics_are_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(errors.SettingsError, match=r"prometheus-client, which is not.*\[metrics\]"):
        exposition.renderer(lambda: ())


@pytest.mark.parametrize(
    ("name", "kind"), [("frames", Kind.COUNTER), ("frames_total", Kind.GAUGE), ("Frames", Kind.GAUGE)]
)
def test_names_that_prometheus_would_frown_at_are_refused(name, kind):
    with pytest.raises(ValueError, match=name):
        Metric(name, kind, "")


def test_a_value_needs_a_value_for_each_label():
    with pytest.raises(ValueError, match="t_dropped_total"):
        Family("t_", DROPPED, (Sample(1),))


def test_a_distribution_has_one_count_more_than_bounds():
    with pytest.raises(ValueError, match="expected one more"):
        Distribution((1.0,), (1,), 0.0)
