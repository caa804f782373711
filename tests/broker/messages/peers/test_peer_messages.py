"""What machines that share a model tell each other, written and read."""

import json

import pytest

from broker.messages.peers import epochs, parcels, standing
from tflsplit import errors
from tflsplit.kernels.classes import KernelClass

STAMP = parcels.Stamp(0xC0FFEE, 3, 17, 42, 1_700_000_000_000_000_000, (640, 480))
CLASS = KernelClass("ai-edge-litert 2.3.0", "x86_64", True, {"CONV_2D/int8": "0123abcd"})
EPOCH = epochs.Epoch(
    7, 2, "9f", ("m1", "m3"), 0, ({"start": 0, "stop": 3, "makes": [], "adds": []},), "3c", 4, True, "x"
)
STANDING = standing.Standing(9, "9f", 1, standing.State.READY, None, 7, 2, 120, 0.5, CLASS)


@pytest.mark.parametrize(("length", "most", "count"), [(0, 200, 1), (100, 200, 1), (1000, 200, 7), (134, 200, 1)])
def test_a_letter_comes_in_as_many_messages_as_it_needs(length, most, count):
    payload = bytes(each % 251 for each in range(length))
    messages = list(parcels.pack(STAMP, (5, 2, 1), (payload[:30], b"", payload[30:50], payload[50:]), most))
    assert len(messages) == count
    assert all(len(message) <= most for message in messages)
    found = [parcels.parse(message) for message in messages]
    assert b"".join(parcel.body for parcel in found) == payload
    assert [(parcel.index, parcel.count) for parcel in found] == [(each, count) for each in range(count)]
    assert {(parcel.stamp, parcel.letter) for parcel in found} == {(STAMP, (5, 2, 1))}


def test_a_letter_that_is_damaged_anywhere_is_refused():
    (message,) = parcels.pack(STAMP, (5, 0, 1), (b"some ", b"features"), 1000)
    for place in range(len(message)):
        damaged = bytearray(message)
        damaged[place] ^= 0x10
        with pytest.raises(errors.FrameError):
            parcels.parse(bytes(damaged))
    for length in (0, 3, parcels.HEADER_BYTES - 1, len(message) - 1):
        with pytest.raises(errors.FrameError):
            parcels.parse(message[:length])


def test_an_answer_names_its_frame_and_is_no_letter():
    found = parcels.parse(parcels.answered(STAMP, 2))
    assert (found.stamp, found.letter, bytes(found.body)) == (STAMP, (parcels.ANSWERED, 0, 2), b"")


def test_a_limit_below_any_message_is_refused():
    with pytest.raises(errors.SettingsError, match="raise the broker's limit"):
        list(parcels.pack(STAMP, (0, 0, 0), (b"x",), parcels.HEADER_BYTES))


def test_epochs_and_standings_are_read_as_they_were_written():
    assert epochs.parse(EPOCH.as_json()) == EPOCH
    assert standing.parse(STANDING.as_json()) == STANDING


@pytest.mark.parametrize(
    ("parse", "good", "changes"),
    [
        (
            epochs.parse,
            EPOCH,
            {"epoch": [0, "2", None], "window": [0, 1 << 17], "sink": [None], "over": [1], "run": [7]},
        ),
        (
            standing.parse,
            STANDING,
            {"state": ["asleep"], "speed": [0, "fast"], "kernel_class": [{"id": "x"}], "boot": [1]},
        ),
    ],
)
def test_what_is_none_of_ours_is_refused(parse, good, changes):
    fields = json.loads(good.as_json())
    for name, values in changes.items():
        for value in values:
            with pytest.raises(errors.FrameError):
                parse(json.dumps({**fields, name: value}).encode())
        with pytest.raises(errors.FrameError):
            parse(json.dumps({key: each for key, each in fields.items() if key != name}).encode())
    for nonsense in (b"", b"[]", b"{", b"\xff\xfe", b"null"):
        with pytest.raises(errors.FrameError):
            parse(nonsense)
