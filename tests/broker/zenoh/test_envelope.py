"""What goes beside a message, byte for byte, and what is none of ours."""

import contextlib

import hypothesis
import pytest
from hypothesis import strategies

from broker.zenoh import envelope
from broker.zenoh.envelope import Envelope, Hello, Kind
from tflsplit import errors

SENDER = bytes(range(16))
GOLDEN = [
    (Envelope(SENDER, 1), "010000" + SENDER.hex() + "0100000000000000"),
    (Envelope(SENDER, 2, Kind.RETAINED, keeps=True, topic="a/b"), "010101" + SENDER.hex() + "0200000000000000612f62"),
    (Envelope(SENDER, 3, Kind.WILL, again=True), "010202" + SENDER.hex() + "0300000000000000"),
]


@pytest.mark.parametrize(("said", "written"), GOLDEN)
def test_an_envelope_is_written_and_read(said, written):
    assert said.encode().hex() == written
    assert envelope.decode(bytes.fromhex(written)) == said


def test_a_hello_is_written_and_read():
    hello = Hello(SENDER, ("a/+", "b"), fetch=("b",), leaves=True)
    assert envelope.parse_hello(hello.encode()) == hello


@hypothesis.given(strategies.binary(max_size=60))
def test_bytes_of_others_are_refused_or_read_never_a_fault(data):
    for read in (envelope.decode, envelope.parse_hello):
        with contextlib.suppress(errors.FrameError):
            read(data)


@pytest.mark.parametrize(
    "fields",
    [
        "{}",
        '{"member":"00","filters":[],"fetch":[],"leaves":false}',
        f'{{"member":"{SENDER.hex()}","filters":[1],"fetch":[],"leaves":false}}',
        f'{{"member":"{SENDER.hex()}","filters":[],"fetch":[],"leaves":1}}',
        f'{{"member":"{SENDER.hex()}","filters":{["x" * (1 << 20)]},"fetch":[],"leaves":false}}'.replace("'", '"'),
    ],
)
def test_a_hello_of_other_fields_is_refused(fields):
    with pytest.raises(errors.FrameError, match="hello is"):
        envelope.parse_hello(fields.encode())
