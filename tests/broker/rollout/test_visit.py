"""One device on its way to another model, which says nothing; whole devices are tried in `tests/tflsplit/cli`."""

import json
import types

import pytest

from broker.messages import presence, topics
from broker.messages.topics import Kind
from broker.rollout.devices import Roster
from broker.rollout.statefile import Entry, State
from broker.rollout.terms import Terms
from broker.rollout.visit import Means, Visit
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import Message

BIRTH = {"cut": "op001", "layer": None, "update": {"serial": 1}}
PLAN = types.SimpleNamespace(deployment="d", terms=Terms(wait_s=600.0))


def told(kind, payload, *, retained):
    return Message(topics.topic("d", "cam1", kind), payload, retained=retained)


def online(connection):
    return presence.Status("online", 7, connection).as_json()


@pytest.fixture
def offered():
    """A visit whose offer was made at 0 s to one that its broker says is online."""
    with MemoryTransport(MemoryBroker(), client_id="operator") as transport:
        transport.connect()
        roster = Roster("d")
        roster.take(told(Kind.STATUS, online(1), retained=True))
        roster.take(told(Kind.BIRTH, json.dumps(BIRTH).encode(), retained=True))
        entry = Entry("cam1", phase=2)
        made = Visit(Means(transport, roster, None), PLAN, None, entry, 0.0, is_back=False)
        entry.state, made._push = State.OFFERED, types.SimpleNamespace(say=lambda transport, now_s: None)
        yield made, roster


def test_one_that_says_nothing_is_away_until_it_speaks_and_holds_up_no_phase(offered):
    visit, roster = offered
    visit.look(59.0)
    assert (visit.entry.state, roster.is_there("cam1")) == (State.OFFERED, True)

    visit.look(60.0)
    assert (visit.entry.state, visit.entry.phase, roster.is_there("cam1")) == (State.WAITING, 0, False)

    roster.take(told(Kind.STATUS, online(1), retained=True))  # what the broker has kept says nothing new
    assert not roster.is_there("cam1")
    roster.take(told(Kind.STATUS, online(2), retained=True))
    assert roster.is_there("cam1")


def test_one_that_is_heard_or_has_answered_has_the_whole_time(offered):
    visit, _ = offered
    visit.take(Kind.TELEMETRY, told(Kind.TELEMETRY, b"", retained=False), 50.0)
    visit.look(100.0)
    visit.entry.said = "receiving"
    visit.look(599.0)
    assert visit.entry.state is State.OFFERED

    visit.look(600.0)
    assert visit.entry.state is State.FAILED
    assert "no final word in 600 s" in visit.entry.reason
