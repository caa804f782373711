"""Messages of updates: what is said comes back, and anything else is refused without harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import telemetry, updates
from broker.messages.updates import Need, Offer, Piece, Report, Signed, State
from tflsplit import errors

A, B = "a" * 64, "b" * 64
OFFER = {
    "deployment": "plant1",
    "device": "cam1",
    "package": A,
    "name": "digits",
    "cut": "op003",
    "manifest_sha256": B,
    "manifest_bytes": 100,
    "total_bytes": 1000,
    "serial": 5,
    "url": None,
}
SIGNATURE = bytes(range(64))


def signed(**changes):
    return Signed(json.dumps(OFFER | changes).encode(), SIGNATURE)


def control(**fields):
    return json.dumps({"verb": "update", "offer": "{}", "signature": SIGNATURE.hex()} | fields).encode()


@pytest.mark.parametrize("url", [None, "https://models.example/x"])
def test_an_offer_comes_back_as_it_was_signed(url):
    offer = Offer(**OFFER | {"url": url})
    said = updates.parse_control(Signed(offer.text(), SIGNATURE).as_json())

    assert (said.text, said.signature) == (offer.text(), SIGNATURE)
    assert said.offer() == offer


def test_a_piece_comes_back():
    piece = Piece(A, 1 << 40, b"data")

    assert updates.parse_control(piece.encode()) == piece


@pytest.mark.parametrize(
    "report",
    [
        Report("0" * 16, State.RECEIVING, 40, None, Need(A, 0, 10)),
        Report("f" * 16, State.ROLLED_BACK, reason="the head died: “ouch”"),
        Report("0" * 16, State.INSTALLED),
    ],
)
def test_a_report_comes_back(report):
    assert updates.parse_report(report.encode()) == report


def test_a_long_reason_is_cut_short():
    report = updates.parse_report(Report("0" * 16, State.REFUSED, reason="x" * 100_000).encode())

    assert len(report.reason) == 500


@pytest.mark.parametrize("payload", [b"TFSF...", b"not JSON", b"", b'{"latency_ms": 3}', b"[1]"])
def test_telemetry_of_others_is_no_report(payload):
    assert updates.parse_report(payload) is None


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 10_000, b'{"offer": "' + b"x" * 20_000, b"\xff"])
def test_a_damaged_report_is_refused(text):
    with pytest.raises(errors.FrameError):
        updates.parse_report(updates.REPORT_MAGIC + text)


def test_a_report_is_nothing_to_those_who_read_telemetry():
    assert telemetry.is_for_others(Report("0" * 16, State.INSTALLED).encode())


def test_a_reason_cannot_drive_a_terminal():
    report = updates.parse_report(Report("0" * 16, State.REFUSED, reason="\x1b[2Jgone\n“all”").encode())

    assert report.reason == "?[2Jgone?“all”"


def test_other_verbs_are_nobodys_business_here():
    assert updates.parse_control(b'{"verb": "reboot", "now": true}') is None


@pytest.mark.parametrize(
    "payload",
    [
        control(offer=5),
        control(signature="00"),
        control(signature=SIGNATURE.hex().upper()),
        control(command="rm -rf /"),
        control(offer="\ud800"),
        b'{"verb": "update"}',
        b'{"verb": "update", "verb": "update", "offer": "", "signature": ""}',
        b'["update"]',
        b"[" * 10_000,
        control(offer="x" * 20_000),
        b"TFSU",
        updates.MAGIC + bytes(40),
        updates.MAGIC + bytes(44 + (1 << 20)),
        b"\xff\xfe",
    ],
)
def test_a_damaged_control_message_is_refused(payload):
    with pytest.raises(errors.FrameError):
        updates.parse_control(payload)


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": 0},
        {"serial": -1},
        {"serial": 1 << 63},
        {"serial": 5.0},
        {"serial": True},
        {"serial": "5"},
        {"manifest_bytes": 0},
        {"manifest_bytes": updates.MOST_MANIFEST_BYTES + 1, "total_bytes": updates.MOST_BYTES},
        {"total_bytes": updates.MOST_BYTES + 1},
        {"total_bytes": 99},
        {"package": "../../etc"},
        {"package": A.upper()},
        {"manifest_sha256": "b" * 63},
        {"device": "cam/1"},
        {"deployment": "#"},
        {"cut": None},
        {"url": 5},
        {"accelerator": "delegate:/tmp/evil.so"},
    ],
)
def test_an_offer_of_something_else_is_refused(changes):
    with pytest.raises(errors.FrameError, match="offer"):
        signed(**changes).offer()


def test_an_offer_that_lacks_something_is_refused_by_name():
    text = json.dumps({name: value for name, value in OFFER.items() if name != "serial"}).encode()

    with pytest.raises(errors.FrameError, match="missing or unknown: serial"):
        Signed(text, SIGNATURE).offer()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=200) | st.builds(lambda data: updates.MAGIC + data, st.binary(max_size=200)))
def test_no_bytes_on_control_do_anything_but_be_refused_or_parsed(data):
    try:
        said = updates.parse_control(data)
    except errors.FrameError:
        return
    assert said is None or isinstance(said, Signed | Piece)


@given(st.dictionaries(st.sampled_from(["verb", "offer", "signature", "x"]), JSON | st.just("update")))
def test_no_json_on_control_does_anything_but_be_refused_or_parsed(fields):
    try:
        said = updates.parse_control(json.dumps(fields).encode())
    except errors.FrameError:
        return
    assert said is None or isinstance(said, Signed)


@given(st.dictionaries(st.sampled_from([*OFFER, "x"]), JSON))
def test_no_signed_text_is_an_offer_unless_every_field_is_right(fields):
    try:
        offer = Signed(json.dumps(OFFER | fields).encode(), SIGNATURE).offer()
    except errors.FrameError:
        return
    assert 0 < offer.manifest_bytes <= offer.total_bytes <= updates.MOST_BYTES


@given(st.dictionaries(st.sampled_from(["offer", "state", "percent", "reason", "need"]), JSON))
def test_no_report_does_anything_but_be_refused_or_parsed(fields):
    known = {"offer": "0" * 16, "state": "receiving", "need": {"sha256": A, "start": 0, "stop": 1}}
    try:
        report = updates.parse_report(updates.REPORT_MAGIC + json.dumps(known | fields).encode())
    except errors.FrameError:
        return
    assert report.need is None or 0 <= report.need.start < report.need.stop <= updates.MOST_BYTES
