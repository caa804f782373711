"""What the others of a kind have measured last, whoever of them is wrong."""

import model_clock
import pytest

from broker.cloud.beside import siblings as beside
from broker.cloud.beside.siblings import Siblings
from broker.messages import siblings
from broker.messages.siblings import Figures

KIND, OTHER = b"12345678", b"87654321"


@pytest.fixture
def clock():
    return model_clock.Clock()


@pytest.fixture
def known(clock):
    return Siblings(clock)


def told(mbit, kind=KIND):
    return Figures(kind, 1, 0.0, 1 / (mbit * 1e6), 0.04, 1.0, 1.0, 0.0)


def asked(known, device="new", kind=KIND):
    return known.take(device, Figures(kind, 0))


def test_who_asks_gets_what_the_others_of_its_kind_said_last(known):
    assert known.take("one", told(1.0)) is None
    known.take("one", told(8.0))
    known.take("two", told(2.0, OTHER))
    found = asked(known)

    assert (found.devices, found.s_per_bit, found.kind) == (1, 1 / 8e6, KIND)


def test_nobody_is_told_its_own_words(known):
    known.take("one", told(1.0))

    assert asked(known, "one").devices == 0


def test_one_that_lies_moves_nothing_however_often_it_speaks(known):
    for number, mbit in enumerate((7.0, 8.0)):
        known.take(f"honest{number}", told(mbit))
    for _ in range(100):
        known.take("liar", told(1e-6))
    found = asked(known)

    assert found.devices == 3
    assert found.s_per_bit == 1 / 7e6


def test_of_two_the_better_is_told(known):
    known.take("honest", told(8.0))
    known.take("liar", told(1e-6))

    assert asked(known).s_per_bit == 1 / 8e6


def test_what_was_said_ages_from_when_more_should_have_been_said_and_is_forgotten(known, clock):
    known.take("one", told(8.0))
    clock.now_s += siblings.EVERY_S
    assert asked(known).age_s == 0.0
    clock.now_s += 30.0
    assert asked(known).age_s == pytest.approx(30.0)
    clock.now_s += beside._FORGET_S
    assert asked(known).devices == 0


def test_the_devices_that_are_remembered_are_bounded(monkeypatch, clock):
    monkeypatch.setattr(beside, "_MOST_BYTES", 3 * beside._ENTRY_BYTES)
    known = beside.Siblings(clock)
    for number in range(5):
        known.take(f"device{number}", told(number + 1.0))
    assert asked(known).devices == 3
    known.take("device2", told(1.0, OTHER))
    assert asked(known).devices == 2
