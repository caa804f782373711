"""Acknowledgements read back as they were written, and refuse everything else."""

import pytest

from broker.messages import acks
from tflsplit import errors

CASES = [
    (
        acks.Acknowledgement("cam-1", 0xC0FFEE00C0FFEE, 7),
        b'{"device":"cam-1","boot":"00c0ffee00c0ffee","sequence":7}',
    ),
    (
        acks.Acknowledgement("cam-1", 1, 2**53, "frame of another package"),
        b'{"device":"cam-1","boot":"0000000000000001","sequence":9007199254740992,"error":"frame of another package"}',
    ),
]


@pytest.mark.parametrize(("made", "encoded"), CASES)
def test_what_is_written_reads_back(made, encoded):
    assert made.as_json() == encoded
    assert acks.parse(encoded) == made


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"7",
        b"\xff",
        b"{}",
        b'{"device":"a","boot":"1","sequence":7}',
        b'{"device":"a","boot":"00c0ffee00c0ffee","sequence":-1}',
        b'{"device":"a","boot":"00c0ffee00c0ffee","sequence":true}',
        b'{"device":"a","boot":"00c0ffee00c0ffee","sequence":7,"error":7}',
        b'{"device":"a","boot":7,"sequence":7}',
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(errors.FrameError, match="acknowledgement"):
        acks.parse(data)
