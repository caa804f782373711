import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import probes, telemetry
from tflsplit import errors
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Distribution, Family, Kind, Sample
from tflsplit.timings.latency import BOUNDS_S

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=20)


def distributions():
    return st.builds(
        lambda counts, sum_s: Distribution(BOUNDS_S, tuple(counts), sum_s),
        st.lists(st.integers(0, 10**9), min_size=len(BOUNDS_S) + 1, max_size=len(BOUNDS_S) + 1),
        FINITE,
    )


def families(metric):
    values = distributions() if metric.kind is Kind.HISTOGRAM else FINITE
    labels = st.lists(st.tuples(*[LABELS] * len(metric.labels)), unique=True, min_size=not metric.labels, max_size=3)
    return labels.flatmap(
        lambda found: st.tuples(*[values.map(lambda value, one=one: Sample(value, one)) for one in found]).map(
            lambda samples: Family("", metric, samples)
        )
    )


TOLD = st.builds(
    telemetry.Telemetry,
    boot=st.integers(0, 2**64 - 1),
    sent_ms=FINITE,
    state=st.sampled_from(["ok", "stuck"]),
    why=st.none() | LABELS,
    fps=FINITE,
    latency_ms=st.dictionaries(st.sampled_from(["p50", "p95", "p99"]), st.none() | FINITE),
    families=st.tuples(*map(families, catalogue.IN_TELEMETRY)),
    moved=st.none() | st.builds(telemetry.Moved, LABELS, LABELS, LABELS, FINITE),
)


@given(TOLD)
def test_what_is_told_is_what_is_read(told):
    assert telemetry.parse(told.as_json()) == told


def message(**metrics):
    fields = {"boot": "07", "sent_ms": 1, "state": "ok", "why": None, "fps": 1, "latency_ms": {}}
    return json.dumps(fields | {"metrics": metrics}).encode()


def test_metrics_that_are_not_known_are_passed_over():
    (family,) = telemetry.parse(message(frames_total=7, of_tomorrow_total=1)).families

    assert (family.metric, family.samples) == (catalogue.FRAMES, (Sample(7.0),))


HISTOGRAM = {"bounds_s": [0.1, 1.0], "counts": [1, 2, 3], "sum_s": 4.0}


@pytest.mark.parametrize(
    "metrics",
    [
        {"frames_total": "7"},
        {"frames_total": True},
        {"frames_total": [7]},
        {"frames_total": {"a": 1}},
        {"dropped_total": 7},
        {"dropped_total": {"late": None}},
        {"dropped_total": {"x" * 1000: 1}},
        {"dropped_total": {"new\nline": 1}},
        {"dropped_total": {str(number): 1 for number in range(1000)}},
        {"build_info": [["a", "b", "c", 1], ["a", "b", "c", 1]]},
        {"build_info": [["a", "b", 1]]},
        {"build_info": [["a", "b", 3, 1]]},
        {"latency_seconds": HISTOGRAM | {"counts": [1, 2]}},
        {"latency_seconds": HISTOGRAM | {"counts": [1, 2, -3]}},
        {"latency_seconds": HISTOGRAM | {"counts": [1, 2, 0.5]}},
        {"latency_seconds": HISTOGRAM | {"bounds_s": [1.0, 0.1]}},
        {"latency_seconds": HISTOGRAM | {"bounds_s": [0.1, "x"]}},
        {"latency_seconds": {"bounds_s": list(range(1000)), "counts": [0] * 1001, "sum_s": 0}},
        {"latency_seconds": 7},
    ],
)
def test_what_would_spoil_a_scrape_is_refused(metrics):
    with pytest.raises(errors.FrameError, match="telemetry"):
        telemetry.parse(message(**metrics))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        message().replace(b'"sent_ms": 1', b'"sent_ms": NaN'),
        message().replace(b'"sent_ms": 1', b'"sent_ms": 1e999'),
        message().replace(b'"07"', b'"xx"'),
        message().replace(b'"07"', b"7"),
        message().replace(b'"latency_ms": {}', b'"latency_ms": []'),
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b" " * (1 << 20),
    ],
)
def test_what_is_no_telemetry_is_refused(payload):
    with pytest.raises(errors.FrameError, match="telemetry"):
        telemetry.parse(payload)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_one_way(payload):
    with pytest.raises(errors.FrameError):
        telemetry.parse(payload)


def test_a_probe_of_the_link_is_told_apart():
    assert telemetry.is_for_others(probes.message(1, 2, b""))
    assert not telemetry.is_for_others(struct.pack("<I", 0))
    assert not telemetry.is_for_others(message())
    assert math.isfinite(telemetry.parse(message()).sent_ms)
