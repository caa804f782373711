"""Two processes under one name notice each other, and the later one yields."""

import pytest

from broker.messages import presence
from broker.transport import memory
from broker.transport.name_clash import NameClash
from tflsplit import errors

TOPIC = "tflsplit/v1/d/n/status"


class Process:
    """A connection with a presence, which hears what comes on its own status."""

    def __init__(self, network, client_id, boot, since_ms):
        status = presence.Presence(TOPIC, boot, since_ms)
        self.transport = memory.MemoryTransport(network, client_id=client_id, presence=status)
        self.transport.connect()
        self.names = NameClash(self.transport, "d", "n", boot)
        self.names.start()

    def hear(self):
        while (message := self.transport.receive(0.0)) is not None:
            self.transport.acknowledge(message)
            self.names.take(message)


def hear_all(*processes):
    """Until nobody has anything more to say; those that yielded."""
    yielded, there = [], list(processes)
    for _ in range(6):
        for process in list(there):
            try:
                process.hear()
            except errors.PeerError as clash:
                yielded.append((process, str(clash)))
                there.remove(process)
                process.transport.close()
    return yielded


def retained(network):
    with memory.MemoryTransport(network, client_id="person") as person:
        person.connect()
        person.subscribe(TOPIC)
        return presence.parse(person.receive(1.0).payload)


@pytest.mark.parametrize(("first_ms", "second_ms"), [(1000, 5000), (5000, 1000), (1000, 1000)])
def test_of_two_the_later_one_yields_and_the_other_is_online(caplog, first_ms, second_ms):
    network = memory.MemoryBroker()
    one = Process(network, "one", 1, first_ms)
    assert hear_all(one) == []
    two = Process(network, "two", 2, second_ms)

    [(later, said)] = hear_all(one, two)
    assert later is (one if first_ms > second_ms else two)
    assert "another process is 'n' at this broker since" in said
    assert "give each a name of its own" in said
    assert len([record for record in caplog.records if "another process has our name" in record.getMessage()]) == 1
    stays = two if later is one else one
    assert hear_all(stays) == []
    assert (retained(network).state, retained(network).boot) == ("online", stays.names._boot)


def test_one_that_died_without_a_goodbye_is_no_other_nor_is_its_late_last_will():
    network = memory.MemoryBroker()
    dead = Process(network, "dead", 1, 1000)
    will = dead.transport.presence.status("offline", 1, "lost")
    again = Process(network, "again", 2, 5000)

    assert hear_all(again) == []
    network.publish(TOPIC, will, 1, retain=True)
    assert hear_all(again) == []
    assert (retained(network).state, retained(network).boot) == ("online", 2)


def test_who_comes_back_is_no_other_and_notices_one_that_came_meanwhile():
    network = memory.MemoryBroker()
    one = Process(network, "one", 1, 1000)
    assert hear_all(one) == []
    network.cut("one")
    network.restore("one")
    assert hear_all(one) == []
    network.cut("one")
    two = Process(network, "two", 2, 5000)
    assert hear_all(two) == []
    network.restore("one")

    [(later, _)] = hear_all(one, two)
    assert later is two


def test_what_is_no_status_and_a_status_of_an_older_version_are_no_reason_to_yield():
    network = memory.MemoryBroker()
    one = Process(network, "one", 1, 1000)
    for payload in (b"", b"{}", presence.Status("online", 9, 1).as_json()):
        network.publish(TOPIC, payload, 1, retain=True)

    assert hear_all(one) == []
