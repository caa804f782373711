"""A cut that moves, over a real Mosquitto: by force, with the link, and without a broker."""

import secrets
import threading

import memory_cloud
import numpy as np
import pytest
import running_edge
import slow_cloud
import tiny_models
import watching
from moving_edge import Restless
from waiting import WAIT_S, wait_for

from broker.cloud import exactness, peers, subscriber
from broker.links import relay
from broker.links.shaping import Shape
from broker.messages import results, siblings
from broker.mqtt import transport
from edge_runtime import loop
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.delivery.durable import spool as delivery_spool
from edge_runtime.delivery.settings import Settings
from tflsplit.graph.interpreter import Interpreter
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Controller, Tuning
from tflsplit.switching.estimates import Memory
from tflsplit.switching.goal import Goal
from tflsplit.switching.policy import Probing

pytestmark = pytest.mark.chaos

WIDTH = 5000
WHOLE_S = 0.03  # what the whole model takes on a device that is made to wait for so long
INPUTS = np.random.default_rng(0).integers(-128, 128, (16, WIDTH), dtype=np.int8)
FAST, SLOW = Shape(50e6, 0.001), Shape(200e3, 0.001)


@pytest.fixture
def wide(tmp_path):
    return tiny_models.write_package(tmp_path / "wide.tflsplit", tiny_models.wide_model(WIDTH))


class World:
    """A broker, a cloud whose tails can be slowed by `engine.seconds`, and a device whose heads at `slow_here` take
    `here_s`, behind a link that can be reshaped. `after` another world with the same cloud, and alike devices."""

    def __init__(
        self,
        stack,
        package,
        broker,
        choices,
        *,
        kind=Controller,
        start="input",
        up=FAST,
        planned=None,
        after=None,
        slow_here=(),
        spool=None,
        memory=None,
        **settings,
    ):
        self.package = package
        self.here_s = WHOLE_S
        self.link = stack.enter_context(relay.Relay(broker.address, up=up, down=FAST))
        name = "m" if after else "n"
        if after is None:
            self.engine = slow_cloud.Slow.of(package)
            self._cloud(stack, broker.address)
        usual = Present(1 / (planned or up).bandwidth_bps, 0.004)
        tuning = Tuning(probing=Probing(), memory=memory or Memory())
        controller = kind(choices, usual, Goal(), tuning, start=start)
        opened = stack.enter_context(candidates.opened(package, choices))
        for each in opened:
            if each.choice.id in slow_here:
                each.head.run = self._slowed(each.head.run)
        self.mover = adaptation.Adaptation(opened, controller, start, kind=b"of a kind"[:8])
        online = stack.enter_context(transport.MqttTransport(self.link.address, client_id=name))
        online.connect()
        self.watcher = watching.Watching()
        given = Settings("d", name, drain_s=WAIT_S, **settings)
        self.edge = loop.Edge(
            *(package, self.mover.first, online, given),
            spool=spool,
            observers=[self.watcher],
            adaptation=self.mover,
        )
        self.thread = stack.enter_context(running_edge.RunningEdge(self.edge, online, INPUTS)).thread

    def _slowed(self, run):
        def slow(arrays):
            threading.Event().wait(self.here_s)
            return run(arrays)

        return slow

    def _cloud(self, stack, address):
        boot = secrets.randbits(64)
        online = stack.enter_context(transport.MqttTransport(address, client_id="cloud"))
        online.connect()
        self.cloud = subscriber.Cloud(
            *(self.engine, online, "d"),
            peers=peers.of(online, ("d", "cloud"), boot, (self.package,)),
            exactness=exactness.Exactness(online, "d", (self.package,), None),
        )
        stack.enter_context(memory_cloud.running(self.cloud))

    def moved(self, before, after, *reasons):
        """Waits until the cut has moved so for one of those reasons."""
        moves = self.mover._controller.switches
        wait_for(lambda: any((m.before, m.after) == (before, after) and m.reason in reasons for m in list(moves)))

    def is_at(self, cut):
        wait_for(lambda: self.edge.cut.id == cut)

    def check(self):
        """Each frame has one result, and it is the whole model's."""
        self.thread.join(WAIT_S)
        summary, (spec,) = self.edge.summary, self.package.manifest.outputs
        with Interpreter(self.package.model_bytes()) as whole:
            tops = [outputs_of(whole.run(row[None])[0], spec) for row in INPUTS]
        got = [answer for answer in self.watcher.answers if isinstance(answer, results.Result)]
        assert sorted(result.sequence for result in got) == list(range(summary.frames))
        assert (summary.unanswered, summary.refused, summary.dropped.total()) == (0, 0, 0)
        for result in got:
            assert told_of(result) == tops[result.sequence % len(INPUTS)]


def outputs_of(stored, spec):
    return [round(float(np.float32(spec.scale)) * (int(value) - spec.zero_point), 4) for value in stored.ravel()]


def told_of(result):
    return [round(value, 4) for value in dict(result.values)["c"]]


def two():
    """Everything there, which a good link makes quicker, or everything here."""
    return [Choice("input", 0.0005, 5300, 0.001, WHOLE_S), Choice("output", WHOLE_S, 0.0, 0.0, 0.0)]


@pytest.mark.parametrize("switches", [2000, pytest.param(10_000, marks=pytest.mark.sweep)])
def test_each_frame_by_another_cut_loses_doubles_and_falsifies_nothing(stack, mosquitto, wide, switches):
    choices = [*two(), Choice("op000", 0.0005, 5300, 0.001, WHOLE_S)]
    world = World(stack, wide, mosquitto(), choices, kind=Restless, count=switches + 100)
    world.thread.join(switches / 2000 * WAIT_S)
    world.check()

    assert world.mover.switches["test"] >= switches
    assert {answer.cut for answer in world.watcher.answers} == {"input", "op000", "output"}


def test_a_link_that_grows_slow_moves_the_cut_and_one_that_is_good_again_moves_it_back(stack, mosquitto, wide):
    world = World(stack, wide, mosquitto(), two(), slow_here=("output",), rate_fps=20.0, count=1_000_000)
    wait_for(lambda: world.edge.summary.results > 5)
    world.is_at("input")
    world.link.reshape(up=SLOW, down=FAST)
    world.moved("input", "output", "link")
    world.is_at("output")
    world.link.reshape(up=FAST, down=FAST)
    world.moved("output", "input", "link")
    world.is_at("input")
    world.edge.stop()

    world.check()
    assert world.mover.probes.sent > 0


def test_a_server_that_grows_busy_moves_the_cut_for_that_reason_and_back(stack, mosquitto, wide):
    """Frames come sooner than it answers, so the first sign is that answers are overdue; the link is as it was. What
    kept the way back longest is the server too, unless a busy machine delayed the link's own round trips meanwhile.
    """
    world = World(
        *(stack, wide, mosquitto(), two()),
        slow_here=("output",),
        memory=Memory(server_half_life_s=0.5),
        rate_fps=20.0,
        count=1_000_000,
    )
    wait_for(lambda: world.edge.summary.results > 5)
    world.engine.seconds = 8 * WHOLE_S
    world.moved("input", "output", "server")
    world.engine.seconds = 0.0
    world.moved("output", "input", "server", "link")
    world.edge.stop()

    world.check()


def test_a_device_that_grows_hot_moves_the_cut_for_that_reason_and_back(stack, mosquitto, wide):
    """While it sends its inputs nothing tells that it is cool again: what was learnt of it grows old, and it tries."""
    world = World(
        *(stack, wide, mosquitto(), two()),
        start="output",
        up=SLOW,
        slow_here=("output",),
        memory=Memory(device_half_life_s=0.5),
        rate_fps=20.0,
        count=1_000_000,
    )
    wait_for(lambda: world.edge.summary.results > 5)
    world.is_at("output")
    world.here_s = 20 * WHOLE_S
    world.moved("output", "input", "device")
    world.here_s = WHOLE_S
    world.moved("input", "output", "device")
    world.edge.stop()

    world.check()


def test_a_second_device_starts_from_what_the_first_has_measured(stack, mosquitto, wide, monkeypatch):
    """The plan expects a good link, where everything is sent; there is another one."""
    monkeypatch.setattr(siblings, "EVERY_S", 0.2)
    given = {"up": SLOW, "planned": FAST, "slow_here": ("output",), "rate_fps": 20.0}
    broker = mosquitto()
    first = World(stack, wide, broker, two(), count=1_000_000, **given)
    first.moved("input", "output", "link")
    wait_for(lambda: first.mover.probes.sent > 4)
    second = World(stack, wide, broker, two(), after=first, count=60, **given)
    second.thread.join(WAIT_S)
    first.edge.stop()

    second.check()
    first.check()
    assert second.mover.siblings.devices == 1
    later = [answer.cut for answer in second.watcher.answers if answer.sequence >= 20]
    # A probe that a busy machine measures wrongly may send it back for a moment, as it would any device.
    assert later.count("output") > len(later) / 2


def test_a_broker_that_is_killed_is_bridged_and_every_frame_is_answered_once(stack, mosquitto, tmp_path, wide):
    broker = mosquitto()
    spool = stack.enter_context(
        delivery_spool.open_spool(tmp_path / "spool", delivery_spool.Limits(), deployment="d", device="n")
    )
    world = World(stack, wide, broker, two(), spool=spool, rate_fps=10.0, count=60)
    wait_for(lambda: world.edge.summary.results > 5)
    broker.kill()
    world.is_at("output")  # on a machine that is busy it may have been there before
    here = world.edge.summary.answered_here
    wait_for(lambda: world.edge.summary.answered_here > here + 20)  # more than a window holds
    broker.start()

    world.check()
    assert world.edge.summary.frames == 60
