"""The pace of a rollout and what it keeps before it speaks, over the broker in memory; whole ones are tried in
`tests/tflsplit/cli`."""

import contextlib
import json
import sqlite3
import time
import types

import pytest

from broker.messages import topics, updates
from broker.messages.topics import Kind
from broker.rollout import statefile
from broker.rollout.bundles import Bundles
from broker.rollout.devices import Roster
from broker.rollout.running import Rollout
from broker.rollout.statefile import Plan, State
from broker.rollout.terms import Terms
from broker.rollout.visit import Means
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import Message

NAMES = ("a", "b", "c", "d")


class Plant:
    """A rollout in one phase to four devices, one model at a time unless `terms` say so. `offered` are the devices of
    all offers that came, `unkept` those of offers that were not on disk when they came, and `told` those that ended."""

    def __init__(self, package, path, stack, **terms):
        broker = MemoryBroker(copies=self._look_at)
        self.path, self.offered, self.unkept, self._ids = path, [], [], {}
        self.operator, self._device = (
            stack.enter_context(MemoryTransport(broker, client_id=name)) for name in ("operator", "devices")
        )
        for each in (self.operator, self._device):
            each.connect()
        roster = Roster("d")
        birth = {"cut": package.cuts[1].id, "layer": None, "update": {"serial": 1}}
        for name in NAMES:
            roster.take(Message(topics.topic("d", name, Kind.BIRTH), json.dumps(birth).encode(), retained=True))
        wanted = Terms(**{"canary": len(NAMES), "at_once": 1, **terms})
        plan = Plan("d", package.digest, True, None, None, None, wanted)
        self.state = stack.enter_context(statefile.create(path, plan, NAMES))
        bundles = stack.enter_context(contextlib.closing(Bundles(package)))
        signer = types.SimpleNamespace(sign=lambda text: bytes(64))
        self.told = []
        told = {"on_change": lambda entry: self.told.append(entry.name)}
        self.rollout = Rollout(Means(self.operator, roster, signer), self.state, bundles, None, **told)

    def look(self, now_s=0.0):
        return self.rollout._step(now_s)

    def report(self, name, state):
        """And what the rollout does about it without another look."""
        said = updates.Report(self._ids[name], state).encode()
        self._device.publish(topics.topic("d", name, Kind.TELEMETRY), said)
        self.rollout._hear(0.0)

    def _look_at(self, topic, payload):
        found = topics.parse(topic)
        if found.kind is Kind.CONTROL:
            self.offered.append(found.device)
            self._ids[found.device] = updates.parse_control(payload).id
            if self._on_disk(found.device)["offer"] != self._ids[found.device]:
                self.unkept.append(found.device)
        return 1

    def _on_disk(self, name):
        with contextlib.closing(sqlite3.connect(self.path)) as read:
            return json.loads(read.execute("SELECT entry FROM devices WHERE name = ?", (name,)).fetchone()[0])


@pytest.fixture
def plant_of(tiny_package, tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda **terms: Plant(tiny_package, tmp_path / "state", stack, **terms)


def test_a_model_that_has_travelled_makes_room_for_the_next_offer_which_is_on_disk_first(plant_of):
    plant = plant_of(most_failed=0.5)
    plant.look()
    plant.report("a", updates.State.RECEIVING)
    assert plant.offered == ["a"]

    plant.report("a", updates.State.PROBATION)
    plant.report("b", updates.State.INSTALLED)
    assert plant.offered == ["a", "b", "c"]
    assert plant.unkept == []
    assert plant.state.entries["a"].state is State.OFFERED


@pytest.mark.parametrize(("most_failed", "offered"), [(0.0, ["a"]), (0.5, ["a", "b"])])
def test_after_one_that_failed_it_is_judged_before_the_next_is_offered(plant_of, most_failed, offered):
    plant = plant_of(most_failed=most_failed)
    plant.look()
    plant.report("a", updates.State.REFUSED)
    assert plant.offered == ["a"]

    plant.look()
    assert plant.offered == offered
    assert (plant.state.course.halted is None) is (offered != ["a"])


def test_nobody_is_offered_anything_between_two_looks_of_a_rollout_that_pauses(plant_of):
    plant = plant_of(most_failed=0.5)
    plant.look()
    plant.state.want(statefile.Wish.PAUSE)
    plant.look()
    plant.report("a", updates.State.PROBATION)

    assert plant.offered == ["a"]


def test_a_device_that_ends_while_a_halted_rollout_is_told_to_go_on_is_counted_once(plant_of):
    plant = plant_of(most_failed=0.0, at_once=2)
    plant.look()
    plant.report("a", updates.State.REFUSED)
    plant.look()
    assert plant.state.course.halted is not None

    plant.state.want(statefile.Wish.GO_ON)
    plant.report("b", updates.State.INSTALLED)
    plant.look()
    assert plant.state.course.halted is None
    assert plant.state.entries["b"].state is State.INSTALLED
    assert plant.told == ["a", "b"]


def test_a_pace_is_kept_and_no_more_than_a_second_of_it_is_made_up_for(plant_of, monkeypatch):
    clock_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock_s[0])
    plant = plant_of(at_once=4, pace_per_s=1.0)
    plant.look(100.0)
    assert plant.offered == ["a"]

    clock_s[0] = 110.0
    plant.look(110.0)
    assert [name for name in plant.offered if name != "a"] == ["b", "c"]  # that one hears its offer again


def test_a_device_whose_broker_is_away_is_put_off_and_taken_when_it_is_back(plant_of, monkeypatch):
    plant = plant_of(most_failed=0.5)
    plant.look()
    plant.report("a", updates.State.RECEIVING)
    offer = plant.state.entries["a"].offer
    monkeypatch.setattr(plant.operator, "reaches", lambda device: device != "a")
    plant.look()
    assert plant.offered == ["a", "b"]
    assert plant.state.away() == ["a"]

    monkeypatch.undo()
    for name in ("b", "c", "d"):
        plant.report(name, updates.State.INSTALLED)
        plant.look()
    assert plant.offered[:2] == ["a", "b"]
    assert (plant.state.entries["a"].state, plant.state.entries["a"].offer) == (State.OFFERED, offer)
