"""Answers of the device over a real Mosquitto: hedged, kept by a gate, and told once to a named reader all the same."""

import json
import secrets
import threading

import memory_cloud
import numpy as np
import pytest
import running_edge
import scored_models
import watching
from moving_edge import SOON, USUAL, Restless, Stays, choices
from scored_models import INPUTS, SCORE, scores
from waiting import WAIT_S, wait_for

from broker.clients import results_reader
from broker.cloud import exactness, peers, subscriber
from broker.cloud.engine import Inline
from broker.mqtt import transport
from edge_runtime import loop
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.answering.gate import Gate, Terms
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.delivery.durable import spool as delivery_spool
from edge_runtime.delivery.settings import Settings
from tflsplit.switching import choices as switching_choices
from tflsplit.switching.choices import Choice
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal

pytestmark = pytest.mark.chaos

FRAMES = 200


class Stalling(Inline):
    """Answers nothing until `goes_on`."""

    def submit(self, job, done):
        assert self.goes_on.wait(WAIT_S)
        super().submit(job, done)


class World:
    """A broker, a cloud that may stall, a reader whose name the broker knows, and the device `n` of deployment `d`."""

    def __init__(self, stack, package, broker):
        self.package, self._stack = package, stack
        self.seen, self.watcher = [], watching.Watching()
        self.engine = Stalling.of(package)
        self.engine.goes_on = threading.Event()
        self._cloud(self._online(broker.address, "cloud", mark="tflsplit/v1/d/cloud/mark"))
        self._read(self._online(broker.address, "reader", session_expiry_s=3600))
        self.online = self._online(broker.address, "n")

    def _online(self, address, name, **more):
        made = self._stack.enter_context(transport.MqttTransport(address, client_id=name, **more))
        made.connect()
        return made

    def _cloud(self, online):
        boot = secrets.randbits(64)
        cloud = subscriber.Cloud(
            *(self.engine, online, "d"),
            peers=peers.of(online, ("d", "cloud"), boot, (self.package,)),
            exactness=exactness.Exactness(online, "d", (self.package,), None),
        )
        self._stack.enter_context(memory_cloud.running(cloud))

    def _read(self, online):
        reading = results_reader.ResultsReader(online, "d")
        thread = threading.Thread(target=reading.run, args=(lambda line: self.seen.append(json.loads(line)),))
        thread.start()
        self._stack.callback(thread.join, WAIT_S)
        self._stack.callback(reading.stop)

    def stream(self, mover, *, spool=None, **settings):
        given = Settings("d", "n", drain_s=WAIT_S, count=FRAMES, **settings)
        self.edge = loop.Edge(
            *(self.package, mover.first, self.online, given), spool=spool, observers=[self.watcher], adaptation=mover
        )
        self.thread = self._stack.enter_context(running_edge.RunningEdge(self.edge, self.online, INPUTS)).thread

    def check(self):
        """Every frame has one result at the reader and at the edge, and each answer is the whole model's."""
        self.thread.join(WAIT_S)
        summary = self.edge.summary
        assert (summary.frames, summary.results, summary.unanswered, summary.refused) == (FRAMES, FRAMES, 0, 0)
        wait_for(lambda: len(self.seen) >= FRAMES)
        assert sorted(told["sequence"] for told in self.seen) == list(range(FRAMES))
        _, labels = scores(self.package)
        own = [(each.result.sequence, each.result.label) for each in self.watcher.own]
        for sequence, label in [*own, *((told["sequence"], told["label"]) for told in self.seen)]:
            assert int(label) == labels[sequence % len(INPUTS)]
        assert len({sequence for sequence, _ in own}) == len(own) == summary.answered_here


@pytest.fixture
def scored(tmp_path):
    return scored_models.package(tmp_path)


def test_answers_of_a_cloud_that_stalls_are_hedged_and_every_frame_is_told_once(stack, mosquitto, scored):
    listed = [Choice("op000", 0.0, 6_000, 100.0, 0.04), Choice("output", 0.06, 0.0, 0.0, 0.0)]
    controller = Stays(listed, USUAL, Goal(), Tuning(hedge=SOON, probing=None), start="op000")
    opened = stack.enter_context(candidates.opened(scored, listed))
    mover = adaptation.Adaptation(opened, controller, "op000", on_device=OnDevice(scored, opened[0].chain, hedges=True))
    world = World(stack, scored, mosquitto())
    world.stream(mover, window=16)
    wait_for(lambda: world.edge.summary.hedged_first == 16)  # as many as may be out
    assert not world.seen
    world.engine.goes_on.set()
    world.check()

    summary = world.edge.summary
    assert 16 <= summary.hedged_first == summary.answered_here <= summary.hedged <= FRAMES
    assert {told["cut"] for told in world.seen} == {"op000"}
    settled = world.watcher.settlements
    assert sum(each.own_s is not None for each in settled) == summary.hedged_first
    assert len(summary.latency_s) == FRAMES


def test_a_gate_a_spool_a_moving_cut_and_a_broker_that_is_killed(stack, mosquitto, scored, tmp_path):
    listed = choices()
    gated = switching_choices.gated(listed)
    controller = Restless(gated, USUAL, Goal(), Tuning(probing=None), start="op000")
    opened = stack.enter_context(candidates.opened(scored, [*gated, listed[-1]]))
    here = OnDevice(scored, opened[0].chain, gate=Gate(scored, Terms(SCORE, audit=0.2)))
    mover = adaptation.Adaptation(opened, controller, "op000", on_device=here)
    kept = stack.enter_context(
        delivery_spool.open_spool(tmp_path / "spool", delivery_spool.Limits(), deployment="d", device="n")
    )
    broker = mosquitto()
    world = World(stack, scored, broker)
    world.engine.goes_on.set()
    world.stream(mover, spool=kept, rate_fps=40.0)
    wait_for(lambda: len(world.seen) > 20)
    broker.kill()
    before = world.edge.summary.frames
    wait_for(lambda: world.edge.summary.frames > before + 20)  # more than a window holds
    broker.start()
    world.check()

    best, _ = scores(scored)
    sure = set(np.flatnonzero(best > SCORE).tolist())
    assert {own.result.sequence for own in world.watcher.own} == sure
    by_cut = {told["sequence"]: told["cut"] for told in world.seen}
    stayed = {sequence for sequence, cut in by_cut.items() if cut == "output"}
    assert stayed <= sure
    assert len(sure - stayed) == here.gate.agreed > 0  # the audits
    assert here.gate.disagreed == 0
    assert len(set(by_cut.values())) > 2
