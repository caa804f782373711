"""Who writes to a connection and who reads it, with several threads at it."""

import threading
import types
from unittest import mock

import pytest
import waiting

from broker.mqtt import driving
from broker.mqtt.connection import Connection
from broker.mqtt.driving import Driver
from broker.transport.protocol import Limits
from broker.transport.state import Shared

SOON_S = waiting.WAIT_S
MANY = 300
WINDOW = 20  # how much Mosquitto takes before it acknowledges


@pytest.fixture(params=["fast", "plain"], autouse=True)
def _paho(request):
    if request.param == "plain":
        request.getfixturevalue("plain_paho")


@pytest.fixture
def pair(mosquitto, join):
    sender, receiver = join(mosquitto.address, "sender"), join(mosquitto.address, "receiver")
    receiver.subscribe("t")
    return sender, receiver


def noted(monkeypatch, name):
    """The threads that call it from now on."""
    threads, work = set(), getattr(Connection, name)

    def noting(self, *given):
        threads.add(threading.current_thread())
        return work(self, *given)

    monkeypatch.setattr(Connection, name, noting)
    return threads


def test_who_sends_writes_and_who_comes_back_soon_reads(pair, monkeypatch):
    sender, receiver = pair
    workers = {name: noted(monkeypatch, name) for name in ("move", "publish")}
    for number in range(MANY):
        sender.publish("t", str(number).encode())
        message = receiver.receive(SOON_S)
        assert message is not None
        assert message.payload == str(number).encode()
        receiver.acknowledge(message)
        if threading.main_thread() in workers["move"] & workers["publish"]:
            break

    assert threading.main_thread() in workers["move"] & workers["publish"]


def test_several_receivers_and_senders_lose_nothing(pair):
    sender, receiver = pair
    taken, lock = [], threading.Lock()

    def send(who):
        for number in range(MANY):
            sender.publish("t", f"{who} {number}".encode())

    def take():
        while (message := receiver.receive(SOON_S)).payload != b"end":
            receiver.acknowledge(message)
            with lock:
                taken.append(message.payload)

    takers = [threading.Thread(target=take) for _ in range(3)]
    senders = [threading.Thread(target=send, args=(who,)) for who in range(3)]
    for thread in takers + senders:
        thread.start()
    for thread in senders:
        thread.join()
    for _ in takers:
        sender.publish("t", b"end")
    for thread in takers:
        thread.join()

    assert sorted(taken) == sorted(f"{who} {number}".encode() for who in range(3) for number in range(MANY))
    assert sender.flush(SOON_S)


def test_who_stays_away_is_read_for(pair):
    """Messages are acknowledged, and what others send is, though who received last does not come back."""
    sender, receiver = pair
    for _ in range(3):
        sender.publish("t", b"x")
        receiver.acknowledge(receiver.receive(SOON_S))
    receiver.subscribe("u")
    receiver.publish("t", b"from the receiver")

    assert receiver.flush(SOON_S)
    assert sender.flush(SOON_S)


def test_a_receiver_that_waits_meets_the_end(pair):
    _, receiver = pair
    told = []
    waiter = threading.Thread(target=lambda: told.append(receiver.receive(SOON_S)))
    waiter.start()
    receiver.close()
    waiter.join(SOON_S)

    assert told == [None]


def test_who_looks_and_finds_nothing_goes_on_reading(monkeypatch):
    """Waking the network thread then would have it read in the place of who comes back."""
    clock = mock.Mock(return_value=0.0)
    monkeypatch.setattr(driving, "time", types.SimpleNamespace(monotonic=clock))
    driver = Driver(Shared(Limits(), clock), mock.Mock(), mock.Mock())
    connection = mock.Mock(is_writing=False, wait=mock.Mock(return_value=(False, False)))
    connection.move.return_value = []
    driver.begin(connection, mock.Mock(is_asking=False))
    driver.go_online()
    monkeypatch.setattr(driver, "_is_needed", needed := threading.Event())

    assert driver.receive(0.0) is None
    assert needed.is_set()  # nobody read until now
    needed.clear()
    clock.return_value = 0.005
    assert driver.receive(0.0) is None
    assert connection.wait.call_count == 1
    assert not needed.is_set()
    clock.return_value = 0.01
    connection.wait.return_value = (True, False)  # a part of a message, and the rest is to be read meanwhile
    assert driver.receive(0.0) is None
    assert needed.is_set()


def test_what_waits_for_room_at_the_broker_is_left_to_who_comes_back_soon(pair, monkeypatch):
    """Waking the network thread for it would cost two switches, and it would read in the place of who comes back."""
    sender, receiver = pair
    calls, hurry = [], Driver.hurry
    monkeypatch.setattr(Driver, "hurry", lambda self: (calls.append(self), hurry(self)))
    for _ in range(MANY):
        assert receiver.flush(SOON_S)
        for _ in range(3):
            sender.publish("t", b"x")
            receiver.acknowledge(receiver.receive(SOON_S))
        calls.clear()
        for _ in range(WINDOW + 5):
            receiver.publish("u", b"x")
        if receiver.held[0] > WINDOW and not calls:
            break
    else:
        pytest.fail("the network thread was woken each time")


def test_the_rest_is_sent_though_nobody_comes_back(pair):
    sender, receiver = pair
    sender.subscribe("u")
    for _ in range(3):
        sender.publish("t", b"x")
        receiver.acknowledge(receiver.receive(SOON_S))
    for number in range(MANY):
        receiver.publish("u", str(number).encode())
    heard = []
    while len(heard) < MANY:
        message = sender.receive(SOON_S)
        assert message is not None
        sender.acknowledge(message)
        heard.append(message.payload)

    assert heard == [str(number).encode() for number in range(MANY)]
