"""Who is there, what was handed out, and what is owed."""

from broker.transport.bounded_queues import Outgoing
from broker.zenoh import members
from broker.zenoh.envelope import Envelope
from broker.zenoh.members import Members, Will

ONE, TWO = b"1" * 16, b"2" * 16


def test_each_number_of_a_sender_counts_once():
    known = Members()
    assert [known.is_repeat(Envelope(ONE, number)) for number in (1, 2, 1, 3)] == [False, False, True, False]
    assert not known.is_repeat(Envelope(TWO, 1))


def test_numbers_are_forgotten_when_they_are_old(monkeypatch):
    monkeypatch.setattr(members, "_REMEMBERED", 4)
    known = Members()
    for number in range(100):
        assert not known.is_repeat(Envelope(ONE, number))
    assert known.is_repeat(Envelope(ONE, 99))
    assert not known.is_repeat(Envelope(ONE, 5))


def test_what_is_retained_counts_once_until_its_sender_was_lost():
    known = Members()
    known.came(ONE, ())
    assert [known.has_handed_out(Envelope(ONE, number), "t") for number in (2, 2, 1, 3)] == [False, True, True, False]
    known.lost(ONE, 0.0)
    known.came(ONE, ())
    assert not known.has_handed_out(Envelope(ONE, 3), "t")


def test_a_will_is_read_out_once_and_not_of_who_left():
    known = Members()
    for sender in (ONE, TWO):
        known.came(sender, ())
        known.wills(sender, Will("s", b"gone"))
    assert known.lost(ONE, 0.0) == Will("s", b"gone")
    assert known.lost(ONE, 0.0) is None
    known.leaves(TWO)
    assert known.lost(TWO, 0.0) is None


def test_missing_are_those_who_take_it_and_did_not_answer():
    known = Members()
    known.came(ONE, ["a/#"])
    known.came(TWO, ["a/+", "b"])
    assert known.missing("a/x", {ONE}) == [TWO]
    assert known.missing("b", ()) == [TWO]
    assert known.missing("c", ()) == []
    known.lost(TWO, 1.0)
    assert known.missing("b", ()) == [TWO]
    assert known.came(TWO, []) is True
    assert known.missing("b", ()) == []


def test_who_is_away_is_owed_some_and_forgotten_later(monkeypatch):
    monkeypatch.setattr(members, "_OWED_MESSAGES", 2)
    known = Members()
    known.came(ONE, ["a"])
    known.lost(ONE, 5.0)
    assert [known.owe(ONE, number, Outgoing("a", b"x", 1)) for number in (1, 2, 3)] == [True, True, False]
    assert known.owed_to_present() == []
    assert known.forget(5.0) == 0
    assert known.forget(6.0) == 2
    assert known.missing("a", ()) == []


def test_who_is_back_gets_what_it_is_owed_in_order():
    known = Members()
    known.came(ONE, ["a"])
    known.lost(ONE, 5.0)
    for number in (1, 2):
        known.owe(ONE, number, Outgoing("a", b"x", 1))
    assert known.came(ONE, ["a"])
    assert [number for number, _ in known.owed_to(ONE)] == [1, 2]
    assert known.owed_to(ONE) == []
