"""What a broker acknowledged and did not save, said again after it died."""

import signal

import model_clock
import pytest
import waiting
from waiting import wait_for

from broker.messages import topics
from broker.transport import repeats
from broker.transport.bounded_queues import Outgoing
from broker.transport.protocol import Limits

# As `tflsplit broker init` writes it, but saved only when the test says so.
SAVED_WHEN_TOLD = ("persistence true", "autosave_on_changes false", "autosave_interval 3600")
RESULTS = topics.topic("shop", "cam", topics.Kind.RESULTS)
MARK = topics.topic("shop", "cloud", topics.Kind.MARK)
SOON_S = waiting.WAIT_S


def spend(made, clock, seconds):
    """Looking all the while; what became due."""
    found = []
    for _ in range(round(seconds)):
        clock.now_s += 1.0
        found += taken(made)
    return found


def said(number, **options):
    return Outgoing(RESULTS, b"%d" % number, 1, **options)


def taken(made, *, room=100):
    found = []
    for outgoing in made.due(lambda _: len(found) < room):
        found.append(outgoing)
    return [outgoing.payload for outgoing in found]


def test_what_was_acknowledged_shortly_before_a_loss_is_said_again_once_readers_are_back():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    made.acknowledged(said(1))
    spend(made, clock, 15.0)
    made.acknowledged(said(2))
    made.acknowledged(said(3))
    spend(made, clock, 6.0)
    made.lost()
    clock.now_s += 600.0  # the broker was away
    made.online()

    assert spend(made, clock, 9.0) == []
    clock.now_s += 1.0
    assert taken(made, room=1) == [b"2"]
    assert taken(made) == [b"3"]
    assert taken(made) == []


def test_what_is_acknowledged_before_readers_are_back_is_said_again_as_well():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    made.online()
    spend(made, clock, 9.0)
    made.acknowledged(said(1))
    made.acknowledged(said(2))

    assert spend(made, clock, 1.0) == [b"1", b"2"]
    made.acknowledged(said(3))
    assert spend(made, clock, 60.0) == []


def test_a_broker_that_dies_before_anything_is_said_again_leaves_all_of_it_due():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    made.acknowledged(said(0))
    for death in range(1, 21):
        made.lost()
        made.online()
        spend(made, clock, 9.0)
        made.acknowledged(said(death))

    assert spend(made, clock, 1.0) == [b"%d" % number for number in range(21)]


def test_seconds_in_which_the_process_stood_still_make_nothing_older():
    """The broker may have died at their beginning, which shows at their end."""
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    made.acknowledged(said(1))
    clock.now_s += 60.0
    made.acknowledged(said(2))
    made.lost()
    made.online()

    assert spend(made, clock, 10.0) == [b"1", b"2"]


def test_a_broker_that_dies_again_before_or_after_costs_nothing_and_a_link_that_flaps_carries_it_no_longer(caplog):
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    made.acknowledged(said(1))
    sent = 0
    for _ in range(20):
        made.lost()
        made.online()
        made.lost()
        made.online()
        spend(made, clock, 9.0)
        clock.now_s += 1.0
        for outgoing in list(made.due(lambda _: True)):
            sent += 1
            made.acknowledged(outgoing)

    assert sent == 8
    assert "messages=1" in caplog.text


def test_what_is_retained_is_left_to_whoever_said_it():
    made = repeats.Repeats(model_clock.Clock(), MARK)
    made.acknowledged(said(1, retain=True))
    made.acknowledged(said(2, is_ours=True))
    made.lost()

    assert len(made) == 0


def test_memory_is_bounded_and_what_finds_no_room_is_told(caplog):
    made = repeats.Repeats(model_clock.Clock(), MARK)
    for number in range(5):
        made.acknowledged(Outgoing(RESULTS, bytes([number]) * (20 << 20), 1))
    made.lost()
    made.online()

    assert len(spend(made, made._clock, 10.0)) == 3
    assert "not said again messages=2" in caplog.text


def test_memory_is_bounded_though_a_broker_dies_again_and_again(caplog):
    made = repeats.Repeats(model_clock.Clock(), MARK)
    for number in range(5):
        made.acknowledged(Outgoing(RESULTS, bytes([number]) * (20 << 20), 1))
        made.lost()
        made.online()

    assert [said[0] for said in spend(made, made._clock, 10.0)] == [2, 3, 4]
    assert "not said again messages=2" in caplog.text


def worked(made, clock, seconds, *, first=0, hears=True):
    """A message a second, and the marks that are left; the broker gives them back if the cloud `hears` them."""
    marks = []
    for number in range(first, first + seconds):
        clock.now_s += 1.0
        assert taken(made) == []
        made.acknowledged(said(number))
        mark = made.mark()
        if mark is not None:
            marks.append(mark)
            made.acknowledged(mark)
            if hears:
                made.heard(mark.payload, is_retained=False)
    return marks


def test_what_the_broker_shows_to_have_forgotten_is_said_again_however_long_ago_it_saved():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    marks = worked(made, clock, 300)
    assert {(mark.topic, mark.retain, mark.is_ours) for mark in marks} == {(MARK, True, True)}
    made.lost()
    made.online()
    made.heard(marks[99].payload, is_retained=True)

    assert spend(made, clock, 20.0) == [b"%d" % number for number in range(99, 300)]


def test_what_the_broker_has_is_not_said_again_but_for_the_last_seconds():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    marks = worked(made, clock, 300)
    made.lost()
    made.online()
    made.heard(marks[-1].payload, is_retained=True)

    assert spend(made, clock, 20.0) == [b"%d" % number for number in range(279, 300)]


@pytest.mark.parametrize("found", [None, b"another 5.0", b"", b"\xff"])
def test_a_broker_that_has_no_mark_of_ours_has_nothing_of_ours(found):
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    worked(made, clock, 300)
    made.lost()
    made.online()
    if found is not None:
        made.heard(found, is_retained=True)

    assert len(spend(made, clock, 20.0)) == 300


def test_no_mark_is_left_before_all_that_may_be_forgotten_is_there_again():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    marks = worked(made, clock, 300)
    for _ in range(2):  # the second death finds the same state as the first
        made.lost()
        made.online()
        clock.now_s += 1.0
        taken(made)
        assert made.mark() is None
        made.heard(marks[99].payload, is_retained=True)
    for _ in range(9):
        clock.now_s += 1.0
        assert made.mark() is None
        said_again = taken(made, room=40)
    assert len(said_again) == 40
    assert made.mark() is None
    made.lost()
    made.online()
    made.heard(marks[99].payload, is_retained=True)

    assert len(spend(made, clock, 20.0)) == 161


def test_a_broker_that_gives_no_mark_back_is_believed_for_some_seconds_only(caplog):
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    marks = worked(made, clock, 300, hears=False)
    made.lost()
    made.online()

    assert len(marks) == 3
    assert caplog.text.count("keeps no mark for this cloud") == 1
    assert spend(made, clock, 20.0) == [b"%d" % number for number in range(279, 300)]


def test_a_broker_that_hangs_up_because_of_a_mark_is_left_none(caplog):
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    left = 0
    for _ in range(10):
        made.online()
        spend(made, clock, 10.0)
        made.acknowledged(said(1))
        clock.now_s += 1.0
        left += made.mark() is not None
        made.lost()

    assert left <= 3
    assert made.is_refused
    assert caplog.text.count("keeps no mark for this cloud") == 1


def test_results_that_a_killed_broker_had_not_saved_reach_a_reader_who_was_away(
    mosquitto_with, join, monkeypatch, tmp_path
):
    monkeypatch.setattr(repeats, "SUBSCRIBED_S", 0.0)
    broker = mosquitto_with(*SAVED_WHEN_TOLD)
    named = {"session_expiry_s": 3600, "limits": Limits(inbox_messages=500)}
    reader = join(broker.address, "reader", **named)
    reader.subscribe(RESULTS)
    reader.close()
    broker.signal(signal.SIGUSR1)  # it saves the session
    wait_for((tmp_path / "mosquitto.db").exists)
    cloud = join(broker.address, "cloud", mark=MARK)
    expected = set()
    for death in range(3):
        for number in range(100):
            payload = b"%d-%d" % (death, number)
            cloud.publish(RESULTS, payload)
            expected.add(payload)
        assert cloud.flush(SOON_S)
        broker.kill()
        broker.start()
        wait_for(lambda death=death: cloud.reconnects > death)
    reader = join(broker.address, "reader", **named)
    found = set()
    while found != expected:
        message = reader.receive(SOON_S)
        assert message is not None, f"{len(expected - found)} results are lost"
        reader.acknowledge(message)
        found.add(message.payload)


def test_results_of_before_the_last_seconds_reach_a_reader_where_the_broker_had_not_saved_them(
    mosquitto_with, join, monkeypatch, tmp_path
):
    """As a broker that saves once in an hour: only the mark tells that it has forgotten."""
    monkeypatch.setattr(repeats, "_UNSAVED_S", -3600.0)
    monkeypatch.setattr(repeats, "SUBSCRIBED_S", 0.5)
    monkeypatch.setattr(repeats, "_MARK_S", 0.0)
    broker = mosquitto_with(*SAVED_WHEN_TOLD)
    named = {"session_expiry_s": 3600, "limits": Limits(inbox_messages=500)}
    reader = join(broker.address, "reader", **named)
    reader.subscribe(RESULTS)
    reader.close()
    cloud = join(broker.address, "cloud", mark=MARK)
    again = cloud._shared.repeats
    cloud.publish(RESULTS, b"saved")
    wait_for(lambda: again._has_marks and not again._waiting)
    broker.signal(signal.SIGUSR1)
    wait_for((tmp_path / "mosquitto.db").exists)
    for number in range(100):
        cloud.publish(RESULTS, b"%d" % number)
    assert cloud.flush(SOON_S)
    broker.kill()
    broker.start()
    reader = join(broker.address, "reader", **named)
    expected, found = {b"saved", *(b"%d" % number for number in range(100))}, set()
    while found != expected:
        message = reader.receive(SOON_S)
        assert message is not None, f"{len(expected - found)} results are lost"
        reader.acknowledge(message)
        found.add(message.payload)


def test_what_a_restarted_broker_took_before_a_reader_was_back_reaches_it(mosquitto_with, join, monkeypatch):
    """The broker forgot its session, and acknowledged what it gave to nobody."""
    monkeypatch.setattr(repeats, "SUBSCRIBED_S", 1e9)
    broker = mosquitto_with(*SAVED_WHEN_TOLD)
    cloud = join(broker.address, "cloud", mark=MARK)
    broker.kill()
    broker.start()
    wait_for(lambda: cloud.reconnects > 0)
    cloud.publish(RESULTS, b"1")
    assert cloud.flush(SOON_S)
    reader = join(broker.address, "reader", session_expiry_s=3600)
    reader.subscribe(RESULTS)
    cloud._shared.repeats._due_s = 0.0

    assert reader.receive(SOON_S).payload == b"1"


def test_a_flood_of_repeats_is_said_bit_by_bit():
    clock = model_clock.Clock()
    made = repeats.Repeats(clock, MARK)
    for number in range(2000):
        made.acknowledged(said(number))
    made.lost()
    made.online()
    assert spend(made, clock, 9.0) == []
    clock.now_s += 1.0
    found = [len(taken(made, room=2000)) for _ in range(3)]
    assert 50 <= found[0] <= 110
    assert found[1:] == [0, 0]
    while len(made):
        clock.now_s += 0.1
        found.append(len(taken(made, room=2000)))

    assert sum(found) == 2000
    assert max(found) <= 110
    assert len(found) < 200  # within twenty seconds
