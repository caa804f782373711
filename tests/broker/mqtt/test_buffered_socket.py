"""The socket in bulk: what goes in comes out, in order, whatever the other side takes and however it ends."""

import socket

import pytest

from broker.mqtt.buffered_socket import BufferedSocket


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield BufferedSocket(ours), theirs


def test_small_reads_come_from_one_large_one(pair):
    bulk, theirs = pair
    theirs.sendall(b"abcdef")

    assert [bulk.recv(1), bytes(bulk.received)] == [b"a", b"bcdef"]
    assert [bulk.recv(2), bulk.recv(10), bytes(bulk.received)] == [b"bc", b"def", b""]
    with pytest.raises(BlockingIOError):
        bulk.recv(1)


def test_what_was_received_grows_with_each_read_and_shrinks_by_what_was_dealt_with(pair):
    bulk, theirs = pair
    theirs.sendall(b"abc")
    assert bulk.fill()
    bulk.skip(2)
    theirs.sendall(b"de")
    assert bulk.fill()

    assert bulk.received == b"cde"
    theirs.close()
    assert not bulk.fill()


def test_what_is_sent_leaves_with_a_flush_and_in_order(pair):
    bulk, theirs = pair
    theirs.setblocking(False)
    for part in (b"a", b"bc", bytearray(b"d")):
        assert bulk.send(part) == len(part)
    with pytest.raises(BlockingIOError):
        theirs.recv(10)
    bulk.flush()

    assert theirs.recv(10) == b"abcd"
    assert not bulk.unsent


def test_what_the_other_side_does_not_take_is_kept(pair):
    bulk, theirs = pair
    parts = [bytes([number]) * 50_000 for number in range(60)]
    for part in parts:
        bulk.send(part)
    bulk.flush()
    assert bulk.unsent
    theirs.setblocking(False)
    got = b""
    while bulk.unsent or len(got) < 3_000_000:
        bulk.flush()
        got += theirs.recv(1 << 20)

    assert got == b"".join(parts)


def test_one_that_is_gone_takes_nothing_and_still_gives_its_last_words(pair):
    bulk, theirs = pair
    theirs.sendall(b"too large")
    theirs.close()
    bulk.send(b"x")
    bulk.flush()

    assert bulk.unsent
    assert bulk.recv(100) == b"too large"
    assert bulk.recv(100) == b""


def test_closing_sends_what_is_left(pair):
    bulk, theirs = pair
    bulk.send(b"goodbye")
    bulk.close()

    assert theirs.recv(100) == b"goodbye"
    assert theirs.recv(100) == b""
