"""Probes of a link and their answers, read back as they were written."""

import math
import struct

import pytest

from broker.messages import probes

ASKED = probes.message(7, 3, b"filling")


def test_an_answer_names_its_probe_and_says_how_long_that_waited():
    answer = probes.answer_to(ASKED, 0.25)

    assert (probes.number_of(answer, 7), probes.number_of(answer, 8), probes.waited_s(answer)) == (3, None, 0.25)
    assert len(answer) == len(probes.answer_to(probes.message(7, 3, bytes(4000))))


@pytest.mark.parametrize("said", [math.nan, math.inf, -1.0])
def test_a_wait_that_cannot_be_counts_as_none(said):
    assert probes.waited_s(ASKED[: probes.LEAST_BYTES] + struct.pack("<d", said)) == 0.0


def test_an_answer_that_says_no_wait_has_none():
    assert probes.waited_s(ASKED[: probes.LEAST_BYTES]) == 0.0
