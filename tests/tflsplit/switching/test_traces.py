"""Traces of links: the curve of what could be carried, both file formats, and what is no trace."""

import itertools

import pytest

from tests import conftest
from tflsplit import errors
from tflsplit.switching import traces
from tflsplit.switching.traces import Conditions

RECORDED = sorted((conftest.SHARED_DATA / "traces").glob("*.up"))


def csv(folder, *lines, head="time_s,rate_bps"):
    path = folder / "link.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_bits_arrive_when_the_rate_lets_them(tmp_path):
    trace = traces.read(csv(tmp_path, "0,1000", "1,0", "3,2000", "4,1000"))

    assert trace.duration_s == 5.0
    assert trace.mean_bps == 4000 / 5
    assert trace.arrival_s(0.0, 500) == pytest.approx(0.5)
    assert trace.arrival_s(0.5, 501) == pytest.approx(3.0005)
    assert trace.arrival_s(1.5, 2000) == pytest.approx(4.0)
    assert trace.arrival_s(0.0, 4000 + 250) == pytest.approx(5.25)  # it begins again
    assert trace.arrival_s(7.0, 1) == pytest.approx(8.0005)


def test_arrival_is_the_inverse_of_capacity(tmp_path):
    trace = traces.read(csv(tmp_path, "0,1234", "0.5,77", "2,91000", "2.25,3"))
    for start_s, bits in itertools.product((0.0, 0.3, 1.9, 2.3, 17.77), (1, 400, 20_000, 99_999)):
        arrived_s = trace.arrival_s(start_s, bits)
        assert trace.capacity_bits(arrived_s) - trace.capacity_bits(start_s) == pytest.approx(bits, rel=1e-6, abs=1e-3)


def test_conditions_hold_until_the_next_line_and_repeat(tmp_path):
    rows = ("0,1000,0.04,0,0", "2,1000,0.2,0.01,0.5", "4,1000,0.04,0,0")
    trace = traces.read(csv(tmp_path, *rows, head="time_s,rate_bps,rtt_s,loss,load"))

    assert trace.conditions_at(1.99) == Conditions(0.04, 0.0, 0.0)
    assert trace.conditions_at(2.0) == Conditions(0.2, 0.01, 0.5)
    assert trace.conditions_at(6.0 + 3.9) == Conditions(0.2, 0.01, 0.5)


def test_mahimahi_counts_packets_of_1500_bytes(tmp_path):
    path = tmp_path / "link.up"
    path.write_text("0\n10\n10\n99\n250\n")
    trace = traces.read(path)

    assert trace.capacity_bits(0.1) == pytest.approx(4 * 1500 * 8)
    assert trace.capacity_bits(0.2) == pytest.approx(4 * 1500 * 8)
    assert (trace.duration_s, trace.total_bits) == (pytest.approx(0.3), 5 * 1500 * 8)


@pytest.mark.skipif(not RECORDED, reason="no recorded traces here: set TFLSPLIT_TEST_DATA")
def test_recorded_traces_have_their_rates():
    found = {path.stem: round(traces.read(path).mean_bps / 1e6, 2) for path in RECORDED}

    assert found["Verizon-EVDO-driving"] == 0.84
    assert found["TMobile-UMTS-driving"] == 0.94
    assert found["ATT-LTE-driving-2016"] == 1.91


@pytest.mark.parametrize(
    ("lines", "head", "said"),
    [
        (["0,1000"], "time_s,rate_bps", "two lines of numbers"),
        (["1,1000", "2,1000"], "time_s,rate_bps", "the first at time 0"),
        (["0,1000", "2,1000", "1,1000"], "time_s,rate_bps", "line 4: 1 s comes after 2 s"),
        (["0,1000", "0,1000"], "time_s,rate_bps", "line 3: 0 s comes after 0 s"),
        (["0,1000", "", "2,1000"], "time_s,rate_bps", "line 3: empty, a gap"),
        (["0,0", "1,0"], "time_s,rate_bps", "its rate is 0 all the time"),
        (["0,1e-300", "1,1e-300"], "time_s,rate_bps", "less than 1 bit/s in the mean"),
        (["0,1000", "1e300,1000"], "time_s,rate_bps", "line 3: times are at most 1,000,000 s"),
        (["0,1e308", "1,1000"], "time_s,rate_bps", "line 2: times are at most 1,000,000 s, rates at most 1e+15"),
        (["0,1000", "1,-5"], "time_s,rate_bps", "line 3: numbers are finite and not below 0"),
        (["0,1000", "1,nan"], "time_s,rate_bps", "line 3: numbers are finite"),
        (["0,1000", "1,fast"], "time_s,rate_bps", "line 3: '1,fast', expected 2 numbers"),
        (["0,1000", "1,1000,3"], "time_s,rate_bps", "line 3: '1,1000,3', expected 2 numbers"),
        (["0,1000,0.1,1", "1,1,1,0"], "time_s,rate_bps,rtt_s,loss", "line 2: loss is a share below 1"),
        (["0,1000", "1,1000"], "seconds,rate", "its first line is 'seconds,rate', expected time_s,rate_bps"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path, lines, head, said):
    with pytest.raises(errors.DataError, match="trace ") as refused:
        traces.read(csv(tmp_path, *lines, head=head))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"5\n3\n", "line 2: 3 ms comes after 5 ms"),
        (b"5\nx\n", "line 2: 'x', expected whole milliseconds"),
        (b"5\n99999999999999\n", "line 2: '99999999999999', expected whole milliseconds"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_damaged_file_of_mahimahi_is_refused(tmp_path, content, said):
    path = tmp_path / "link.up"
    path.write_bytes(content)
    with pytest.raises(errors.DataError) as refused:
        traces.read(path)
    assert said in str(refused.value)


def test_a_byte_order_mark_and_windows_lines_are_taken(tmp_path):
    path = tmp_path / "link.csv"
    path.write_bytes("\ufefftime_s,rate_bps\r\n0,1000\r\n1,1000\r\n\r\n".encode())
    assert traces.read(path).mean_bps == 1000
