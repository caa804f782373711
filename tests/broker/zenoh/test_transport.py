"""Direct links beyond the contract of all transports: who is there, what is owed, who is lost, and what is refused."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import ports
import pytest
import waiting

from broker.links import relay
from broker.links.shaping import Shape
from broker.messages import presence
from broker.messages.presence import Presence
from broker.transport import protocol
from broker.transport.address import Address
from broker.transport.protocol import ConnectionState
from tflsplit import errors

SOON_S = waiting.WAIT_S

MEMBER = """
import sys
from broker.messages.presence import Presence
from broker.zenoh.transport import ZenohTransport
status = Presence("status/child", 7)
made = ZenohTransport(sys.argv[1], deployment="plant1", name="child", presence=status, keepalive_s=1)
made.connect()
made.subscribe("to/child")
print("here", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child():
    """A member in a process of its own."""
    started = []

    def start(url):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", MEMBER, url], **pipes))
        assert started[-1].stdout.readline() == "here\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="box") as made:
        yield pathlib.Path(made)


def take(client):
    message = client.receive(SOON_S)
    assert message is not None, "nothing came"
    client.acknowledge(message)
    return message


def test_who_listens_is_online_alone_and_what_nobody_takes_is_done_with(member, port):
    alone = member(f"zenoh://?listen=127.0.0.1:{port}")
    alone.publish("t", b"x")
    assert alone.flush(SOON_S)
    assert (alone.state, alone.counters.acknowledged) == (ConnectionState.ONLINE, 1)


def test_nobody_there_is_said_at_once(member, port):
    with pytest.raises(errors.BrokerError, match="Connection refused"):
        member(f"zenoh://127.0.0.1:{port}", timeout_s=30.0)


def test_a_port_that_is_taken_is_named(member, port):
    member(f"zenoh://?listen=127.0.0.1:{port}")
    with pytest.raises(errors.BrokerError, match=f"127.0.0.1:{port}: Address already in use"):
        member(f"zenoh://?listen=127.0.0.1:{port}")


def test_who_begins_first_meets_who_comes_later(member, port):
    early = member(f"zenoh://127.0.0.1:{port}", is_connected=False)
    early.begin()
    early.subscribe("t")
    late = member(f"zenoh://?listen=127.0.0.1:{port}")
    assert early.wait_for(ConnectionState.ONLINE, SOON_S)
    early.subscribe("u")
    late.publish("t", b"x")
    assert take(early).payload == b"x"


def test_a_share_and_a_topic_with_wildcards_are_refused(member, port):
    alone = member(f"zenoh://?listen=127.0.0.1:{port}")
    with pytest.raises(errors.BrokerError, match="sharing them needs a broker"):
        alone.subscribe("$share/clouds/a/+")
    for topic in ("a/*", "", "/a", "a#"):
        with pytest.raises(errors.BrokerError, match="no topic of a direct link"):
            alone.publish(topic, b"x")


def test_members_that_look_for_others_find_them_through_one(member):
    """The second and the third know the first alone."""
    at = [ports.free_port() for _ in range(3)]
    member(f"zenoh://?listen=127.0.0.1:{at[0]}&discover")
    others = [member(f"zenoh://127.0.0.1:{at[0]}?listen=127.0.0.1:{each}&discover") for each in at[1:]]
    waiting.wait_for(lambda: all(len(each._met) == 2 for each in others))
    others[1].subscribe("t")
    others[0].publish("t", b"x")
    assert take(others[1]).payload == b"x"


def test_others_are_not_looked_for_where_nobody_asks(member):
    at = [ports.free_port() for _ in range(3)]
    member(f"zenoh://?listen=127.0.0.1:{at[0]}")
    others = [member(f"zenoh://127.0.0.1:{at[0]}?listen=127.0.0.1:{each}") for each in at[1:]]
    others[1].subscribe("t")
    others[0].publish("t", b"x")
    assert others[0].flush(SOON_S)
    assert [len(each._met) for each in others] == [1, 1]
    assert others[1].receive(0.0) is None


def test_what_is_on_its_way_over_a_link_that_breaks_arrives_once_and_in_order(member, port):
    receiver = member(f"zenoh://?listen=127.0.0.1:{port}", limits=protocol.Limits(inbox_messages=4))
    receiver.subscribe("t")
    with relay.Relay(Address("127.0.0.1", port), up=Shape(), down=Shape()) as link:
        sender = member(f"zenoh://{link.address}")
        for number in range(60):
            sender.publish("t", b"%d" % number)
        assert take(receiver).payload == b"0"  # the rest waits for room, some of it on its way
        link.interrupt()
        waiting.wait_for(lambda: sender.counters.reconnects)
        found = [int(take(receiver).payload) for _ in range(59)]
        assert sender.flush(SOON_S)
    assert sorted(found) == list(range(1, 60))
    assert receiver.receive(0.0) is None
    assert not any(sender.counters.dropped.values())


def test_what_follows_a_message_waits_until_all_who_take_it_have_room_for_it(member, port):
    sender = member(f"zenoh://?listen=127.0.0.1:{port}", "sender")
    quick = member(f"zenoh://127.0.0.1:{port}", "quick")
    slow = member(f"zenoh://127.0.0.1:{port}", "slow", limits=protocol.Limits(inbox_messages=1))
    for each in (quick, slow):
        each.subscribe("result")
    quick.subscribe("answer")
    for number in range(3):
        assert sender.try_publish("result", b"%d" % number, then=("answer", b"%d" % number))
    came = [quick.receive(SOON_S) for _ in range(4)]
    sender.publish("answer", b"later")
    came.append(quick.receive(SOON_S))
    words = [(each.topic, each.payload) for each in came]
    assert words[-1] == ("answer", b"later")
    assert [word for word in words[:-1] if word[0] == "result"] == [("result", b"%d" % each) for each in range(3)]
    assert ("answer", b"0") in words  # the others wait for the slow one, whose inbox is full

    for _ in range(3):
        slow.acknowledge(slow.receive(SOON_S))
    assert {quick.receive(SOON_S).payload for _ in range(2)} == {b"1", b"2"}


def test_who_is_killed_has_its_last_will_read_out_and_who_leaves_says_goodbye(member, child, port):
    watcher = member(f"zenoh://?listen=127.0.0.1:{port}", keepalive_s=1)
    watcher.subscribe("status/#")
    first = child(f"zenoh://127.0.0.1:{port}")
    assert presence.parse(take(watcher).payload).state == "online"
    first.kill()
    lost = presence.parse(take(watcher).payload)
    assert (lost.state, lost.reason, lost.boot) == ("offline", "lost", 7)


def test_who_hangs_is_lost_and_holds_nobody_up_for_longer(member, child, port):
    watcher = member(f"zenoh://?listen=127.0.0.1:{port}", keepalive_s=1)
    watcher.subscribe("status/#")
    frozen = child(f"zenoh://127.0.0.1:{port}")
    take(watcher)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        for _ in range(40):
            watcher.publish("to/child", bytes(200_000))
        assert presence.parse(take(watcher).payload).reason == "lost"
        assert watcher.flush(SOON_S)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert presence.parse(take(watcher).payload).state == "online"


def test_in_a_box_members_meet_and_what_a_dead_one_left_is_cleared(member, child, folder):
    first = member(f"box://{folder}", "a", presence=Presence("status/a", 1), keepalive_s=1)
    dead = child(f"box://{folder}")
    first.subscribe("status/child")
    assert presence.parse(take(first).payload).state == "online"
    dead.kill()
    assert presence.parse(take(first).payload).reason == "lost"
    second = member(f"box://{folder}", "b")
    second.subscribe("status/a")
    assert presence.parse(take(second).payload).state == "online"
    assert len(list(folder.glob("*.sock"))) == 2
    assert folder.stat().st_mode & 0o777 == 0o700
    for each in (first, second):
        each.close()
    assert not list(folder.glob("*.sock"))


def test_large_parts_go_through_shared_memory_whole(member, folder):
    one, other = member(f"box://{folder}", "a"), member(f"box://{folder}", "b")
    other.subscribe("t")
    payload = os.urandom(3_000_000)
    for _ in range(12):  # more than the pool of the library has room for
        one.publish("t", payload)
    assert all(take(other).payload == payload for _ in range(12))


def test_those_who_join_at_once_meet(member, folder):
    joining = [member(f"box://{folder}", f"m{number}", is_connected=False) for number in range(4)]
    for each in joining:
        each.begin()
    waiting.wait_for(lambda: all(len(each._met) == 3 for each in joining))
