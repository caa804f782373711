"""Dead letters: read as they were written, within any limit, and few of them."""

import pytest

from broker.messages import dead_letters
from tflsplit import errors

LETTER = dead_letters.DeadLetter("cam-1", (0xC0FFEE, 7), "frame is damaged", 12.5, 300, bytes(300))


@pytest.mark.parametrize("letter", [LETTER, dead_letters.DeadLetter("n", None, "ünlesbar", 0.0, 2, b"\0\xff")])
def test_a_letter_is_read_as_it_was_written(letter):
    assert dead_letters.parse(letter.as_json(1 << 20)) == letter


@pytest.mark.parametrize("limit", [1, 300, 400, 480])
def test_a_frame_that_does_not_fit_is_left_out_and_its_size_told(limit):
    made = LETTER.as_json(limit)

    assert dead_letters.parse(made).frame is None
    assert dead_letters.parse(made).frame_bytes == 300


def test_a_letter_with_its_frame_never_exceeds_the_limit():
    whole = len(LETTER.as_json(1 << 20))

    assert len(LETTER.as_json(whole)) == whole
    assert len(LETTER.as_json(whole - 1)) < whole - 300


def test_a_burst_is_let_through_and_then_one_a_second():
    allowance = dead_letters.Allowance()
    taken = [allowance.take(0.0) for _ in range(100)]

    assert sum(taken) == dead_letters.BURST
    assert [allowance.take(now_s) for now_s in (0.5, 1.0, 1.5, 2.1)] == [False, True, False, True]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"device": "n"}', LETTER.as_json(1 << 20).replace(b"300", b"299")]
)
def test_anything_else_is_refused(data):
    with pytest.raises(errors.FrameError, match="dead letter"):
        dead_letters.parse(data)
