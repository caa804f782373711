import itertools
import json
import math
import os
import pathlib
import threading

import pytest

from broker.messages import acks, results
from edge_runtime.delivery import observer
from edge_runtime.monitoring import breakdown, frame_trace
from tflsplit import errors

MS = 1_000_000
BEGAN_NS = 1_700_000_000_000_000_000
ROUND_MS = 0.01  # eight parts rounded to a microsecond, and times that are floats of milliseconds since 1970


def settled(sequence, *, ahead_ms=0.0, out_ms=2.0, back_ms=3.0, sendings=1, answer=None, at_ms=None, set_ms=0.0):
    """A frame captured at its sequence in tenths of a second; the cloud's clock is `ahead_ms`. Ours is set by `set_ms`
    while it is away."""
    captured_ns = BEGAN_NS + int((sequence * 100 if at_ms is None else at_ms) * MS)
    published_ns = captured_ns + 5 * MS
    received_ms = published_ns / MS + out_ms + ahead_ms
    times = results.Times(captured_ns / MS, 4.0, received_ms, 0.5, 0.25, 6.0, received_ms + 7.0)
    answer = answer or results.Result("n", 7, sequence, "op000", "9f", times)
    arrived_ns = published_ns + int((out_ms + 7.0 + back_ms) * MS)
    away_s = (out_ms + 7.0 + back_ms) / 1e3
    times = (captured_ns, 0.004, published_ns, arrived_ns + int(set_ms * MS), 0.005 + away_s)
    return observer.Settled(7, sequence, "9f", "op000", answer, *times, sendings, away_s)


def written(path, frames, limit_bytes=1 << 20):
    with frame_trace.Trace(path, limit_bytes=limit_bytes) as tracing_:
        for frame in frames:
            tracing_.settled(frame)
    return list(frame_trace.read(path))


@pytest.mark.parametrize("set_ms", [3_600_000.0, -3_600_000.0])
def test_a_clock_that_is_set_while_a_frame_is_away_does_not_count(tmp_path, set_ms):
    frames = [*map(settled, range(5)), settled(5, set_ms=set_ms), *map(settled, range(6, 10))]
    lines = written(tmp_path / "t.jsonl", frames)

    assert {line["total_ms"] for line in lines} == {17.0}
    assert lines[5]["parts_ms"] == {"wait": 1.0, "head": 4.0, "away": 12.0}
    assert all(0 <= value <= 12 for line in lines for value in line["parts_ms"].values())


def test_a_cloud_whose_clock_is_set_while_it_has_a_frame_is_no_part(tmp_path):
    times = results.Times(0.0, 4.0, 1e12, 0.5, 0.25, 6.0, 1e12 - 3_600_000.0)
    lines = written(tmp_path / "t.jsonl", [settled(0, answer=results.Result("n", 7, 0, "op000", "9f", times))])

    assert lines[0]["parts_ms"] == {"wait": 1.0, "head": 4.0, "away": 12.0}


def test_parts_add_up_to_the_total_and_are_what_happened(tmp_path):
    lines = written(tmp_path / "t.jsonl", [settled(number, ahead_ms=50.0) for number in range(20)])

    assert [line["sequence"] for line in lines] == list(range(20))
    for line in lines:
        assert math.isclose(sum(line["parts_ms"].values()), line["total_ms"], abs_tol=ROUND_MS)
        assert line["total_ms"] == pytest.approx(17.0, abs=ROUND_MS)
        parts = line["parts_ms"]
        known = {"wait": 1.0, "head": 4.0, "queue": 0.5, "decode": 0.25, "tail": 6.0, "reply": 0.25}
        assert {part: parts[part] for part in known} == pytest.approx(known, abs=ROUND_MS)
        assert abs(line["offset_ms"] - 50.0) <= line["offset_error_ms"] + ROUND_MS
        assert abs(parts["out"] - 2.0) <= line["offset_error_ms"] + ROUND_MS
        assert abs(parts["back"] - 3.0) <= line["offset_error_ms"] + ROUND_MS
        assert line["offset_error_ms"] <= 2.5 + 0.1


def test_a_frame_that_was_sent_again_does_not_teach_the_clock_offset(tmp_path):
    frames = [settled(0), settled(1, sendings=2, out_ms=-900.0, back_ms=910.0), settled(2)]
    lines = written(tmp_path / "t.jsonl", frames)

    assert abs(lines[-1]["offset_ms"]) <= lines[-1]["offset_error_ms"] < 2.6
    assert lines[1]["sendings"] == 2


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (acks.Acknowledgement("n", 7, 3), "ack"),
        (acks.Acknowledgement("n", 7, 3, "no such cut"), "refusal"),
        (results.Refusal("n", 7, 3, "no such cut", 0.0), "refusal"),
    ],
)
def test_answers_without_times_are_away_for_the_rest(tmp_path, answer, name):
    (line,) = written(tmp_path / "t.jsonl", [settled(3, answer=answer)])

    assert line["answer"] == name
    assert line["parts_ms"] == pytest.approx({"wait": 1.0, "head": 4.0, "away": 12.0}, abs=ROUND_MS)
    assert "offset_ms" not in line


def test_two_files_hold_the_newest_lines_within_the_limit(tmp_path):
    path = tmp_path / "t.jsonl"
    kept = written(path, map(settled, range(1000)), limit_bytes=100_000)
    older = list(frame_trace.read(tmp_path / "t.jsonl.1"))
    numbers = [line["sequence"] for line in (*older, *kept)]

    assert sorted(os.listdir(tmp_path)) == ["t.jsonl", "t.jsonl.1"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 100_000
    assert numbers == list(range(numbers[0], 1000))
    assert len(numbers) > 100


def test_what_finds_no_room_is_counted_and_said_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_trace, "_WAITING_LINES", 2)
    path = tmp_path / "t.jsonl"
    entered, release = threading.Event(), threading.Event()
    line_of = frame_trace._line

    def held_up(*given):
        entered.set()
        assert release.wait(20.0)
        return line_of(*given)

    monkeypatch.setattr(frame_trace, "_line", held_up)
    with frame_trace.Trace(path, limit_bytes=1 << 20) as tracer:
        tracer.settled(settled(0))
        assert entered.wait(20.0)
        for number in range(1, 10):
            tracer.settled(settled(number))
        release.set()
    lines = list(frame_trace.read(path))

    assert [line["sequence"] for line in lines] == [0, 1, 2]
    assert tracer.dropped == 7
    assert lines[-1]["dropped"] == 7


def test_a_disk_that_is_full_ends_the_trace_and_nothing_else(caplog):
    """Linux keeps a device that always is."""
    with frame_trace.Trace(pathlib.Path("/dev/full"), limit_bytes=1 << 30) as tracer:
        for number in range(2000):
            tracer.settled(settled(number))

    assert tracer.dropped > 0
    assert "trace ended" in caplog.text


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(errors.DeviceError, match="cannot be written"):
        frame_trace.Trace(tmp_path / "none" / "t.jsonl", limit_bytes=1000)


@pytest.mark.parametrize(
    "text", ["", "{}\n", "no JSON\n", '{"schema": 2, "kind": "trace"}\n', '{"schema": 1, "kind": "trace"}\n{"a": 1}\n']
)
def test_what_is_no_trace_is_refused(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_text(text)

    with pytest.raises(errors.DataError, match=r"t\.jsonl"):
        list(frame_trace.read(path))


def test_a_line_that_is_half_written_is_left_out(tmp_path):
    path = tmp_path / "t.jsonl"
    whole = written(path, map(settled, range(3)))
    with path.open("a") as stream:
        stream.write('{"sequence": 3, "par')

    assert list(frame_trace.read(path)) == whole


def test_a_summary_says_which_part_dominates(tmp_path):
    lines = written(tmp_path / "t.jsonl", itertools.chain(map(settled, range(9)), [settled(9, out_ms=500.0)]))
    found = breakdown.summarise(lines)

    assert found["frames"] == 10
    assert found["total_ms"]["p50"] == pytest.approx(17.0, abs=ROUND_MS)
    assert found["parts_ms"]["tail"] == pytest.approx({"p50": 6.0, "p95": 6.0, "p99": 6.0}, abs=ROUND_MS)
    assert found["dominant"] == {"tail": 9, "out": 1}


def test_perfetto_gets_each_part_where_it_happened(tmp_path):
    lines = written(tmp_path / "t.jsonl", map(settled, range(3)))
    events = json.loads(json.dumps(breakdown.as_perfetto(lines)))["traceEvents"]
    begins = [event for event in events if event["ph"] == "b"]
    ends = {(event["id"], event["name"]): event["ts"] for event in events if event["ph"] == "e"}

    assert len(begins) == len(ends) == 3 * 8
    for event in begins:
        took_ms = lines[event["id"]]["parts_ms"][event["name"]]
        assert ends[event["id"], event["name"]] - event["ts"] == pytest.approx(took_ms * 1e3, abs=1.0)
