"""A reader of results: each once, acknowledged when it was handed on, and kept for it while it is away."""

import json
import threading

import pytest
import waiting

from broker.clients import results_reader
from broker.messages import results, topics
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import Message

SOON_S = waiting.WAIT_S
TIMES = results.Times(*(1.0,) * 7)


def result(sequence, device="cam1", boot=1):
    return results.Result(device, boot, sequence, "op001", "9f", TIMES, (results.Score("cät\n", 0.5),)).as_json()


def refusal(sequence, error, device="cam1"):
    return results.Refusal(device, 1, sequence, error, 1.0).as_json()


@pytest.fixture
def broker():
    return MemoryBroker()


@pytest.fixture
def joined(broker, request):
    def join(client_id, **options):
        made = MemoryTransport(broker, client_id=client_id, **options)
        request.addfinalizer(lambda: made.close(timeout_s=0))
        made.connect()
        return made

    return join


@pytest.fixture
def say(joined):
    """Publishes answers as a cloud would."""
    cloud = joined("cloud")

    def publish(*answers, device="cam1"):
        for answer in answers:
            cloud.publish(topics.topic("d", device, topics.Kind.RESULTS), answer)

    return publish


def read(reading, **options):
    taken = []
    reading.run(taken.append, **options)
    return [json.loads(line) for line in taken]


@pytest.fixture
def subscribed(joined):
    """A consumer whose subscription stands already."""

    def make(device=None):
        transport = joined("reader")
        transport.subscribe(topics.every_device("d", topics.Kind.RESULTS))
        return results_reader.ResultsReader(transport, "d", device=device)

    return make


def test_each_result_is_given_once(subscribed, say):
    reading = subscribed()
    say(result(0), result(1), result(0), result(1, boot=2), result(2), result(2))
    say(result(0, device="cam2"), device="cam2")
    given = read(reading, count=5)

    assert [(each["device"], int(each["boot"], 16), each["sequence"]) for each in given] == [
        ("cam1", 1, 0),
        ("cam1", 1, 1),
        ("cam1", 2, 1),
        ("cam1", 1, 2),
        ("cam2", 1, 0),
    ]
    assert reading.summary.duplicates == 2


def test_a_result_is_one_line_whatever_is_in_it(subscribed, say):
    reading = subscribed()
    say(json.dumps(json.loads(result(0)), indent=2).replace("\n", "\r\n").encode())
    taken = []
    reading.run(taken.append, count=1)

    assert b"\n" not in taken[0]
    assert b"\r" not in taken[0]
    assert results.parse(taken[0]) == results.parse(result(0))


def test_refusals_are_told_once_for_each_reason_and_counted(subscribed, say, caplog):
    reading = subscribed()
    say(*(refusal(sequence, "no such cut\nforged line") for sequence in range(3)), refusal(3, "other"), result(4))

    assert [each["sequence"] for each in read(reading, count=1)] == [4]
    assert reading.summary.refused == 4
    assert [record.getMessage() for record in caplog.records] == [
        r"frames refused device=cam1 reason='no such cut\nforged line'",
        "frames refused device=cam1 reason='other'",
    ]


def test_what_is_no_result_of_its_topics_device_is_dropped_and_counted(subscribed, say):
    reading = subscribed()
    say(b"nonsense", result(0, device="cam2"), b"[" * 100_000, result(1))

    assert [each["sequence"] for each in read(reading, count=1)] == [1]
    assert reading.summary.unreadable == 3


def test_one_device_can_be_read_alone(joined, say):
    reading = results_reader.ResultsReader(joined("reader"), "d", device="cam2")
    given = []
    thread = threading.Thread(target=lambda: given.extend(read(reading, count=1)))
    thread.start()
    while thread.is_alive():  # until its subscription stands
        say(result(0))
        say(result(9, device="cam2"), device="cam2")
        thread.join(0.01)

    assert [each["device"] for each in given] == ["cam2"]


def test_a_stopped_reader_has_acknowledged_all_that_it_handed_on(mosquitto, join):
    """The last one too, whose acknowledgement has no time to leave before the connection is closed."""
    cloud = join(mosquitto.address, "cloud")
    reader = join(mosquitto.address, "reader", session_expiry_s=3600)
    reader.subscribe(topics.every_device("d", topics.Kind.RESULTS))
    reader.close()
    for sequence in range(50):
        cloud.publish(topics.topic("d", "cam1", topics.Kind.RESULTS), result(sequence))
    assert cloud.flush(SOON_S)
    given = []
    for _ in range(10):
        with_session = join(mosquitto.address, "reader", session_expiry_s=3600)
        given += read(results_reader.ResultsReader(with_session, "d"), count=5)
        with_session.close()

    assert [each["sequence"] for each in given] == list(range(50))


def test_what_was_handed_on_and_not_acknowledged_comes_again(mosquitto, join):
    cloud = join(mosquitto.address, "cloud")
    reader = join(mosquitto.address, "reader", session_expiry_s=3600)
    reader.subscribe(topics.every_device("d", topics.Kind.RESULTS))
    cloud.publish(topics.topic("d", "cam1", topics.Kind.RESULTS), result(0))

    def disk_is_full(_):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        results_reader.ResultsReader(reader, "d").run(disk_is_full)
    reader.close()
    back = join(mosquitto.address, "reader", session_expiry_s=3600)

    assert [each["sequence"] for each in read(results_reader.ResultsReader(back, "d"), count=1)] == [0]


def test_second_copies_are_noticed_of_twenty_thousand_devices():
    reading, given = results_reader.ResultsReader(MemoryTransport(MemoryBroker(), client_id="r"), "d"), []
    names = [f"device-{number}" for number in range(20_000)]
    for _ in range(2):
        for name in names:
            topic = topics.topic("d", name, topics.Kind.RESULTS)
            reading._take(Message(topic, result(7, device=name)), given.append)

    assert (reading.summary.results, reading.summary.duplicates) == (20_000, 20_000)
    assert len(set(given)) == 20_000


def test_devices_that_made_room_are_counted_and_told_once(subscribed, say, monkeypatch, caplog):
    monkeypatch.setattr(results_reader.deduplication, "MOST_BYTES", 1000)
    reading = subscribed()
    for name in ("cam1", "cam2", "cam3"):
        say(result(0, device=name), device=name)
    read(reading, count=3)

    assert reading.summary.forgotten == 2
    assert [record.message.split()[0:2] for record in caplog.records] == [["devices", "forgotten"]]
