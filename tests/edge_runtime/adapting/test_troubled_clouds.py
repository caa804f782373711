"""A cut that moves beside clouds that are late or of an older package, and beside wall clocks that are set."""

import contextlib
import itertools
import threading
import time

import memory_cloud
import pytest
import tiny_models
from moving_edge import Restless, Run, choices, moving
from waiting import WAIT_S, wait_for

from broker.cloud import engine, exactness, peers, subscriber
from broker.transport import memory
from edge_runtime.adapting import adaptation
from tflsplit.switching.choices import Choice

# So dear here that no slow moment of this machine moves the cut to the device.
DEAR_HERE = Choice("output", 600.0, 0.0, 0.0, 0.0)
ENDLESS = {"count": 1_000_000, "rate_fps": 50.0}


@pytest.fixture
def network():
    return memory.MemoryBroker()


@pytest.fixture
def older(tmp_path):
    """The tiny model before its labels were others."""
    return tiny_models.write_package(tmp_path / "older.tflsplit", tiny_models.residual_model(), labels=("x", "y"))


@pytest.fixture
def soon(monkeypatch):
    """What was refused is tried again within the test."""
    monkeypatch.setattr(adaptation, "_AGAIN_S", 0.2)


@contextlib.contextmanager
def lonely_cloud(package, network):
    """One that looks at no others, as one without the right to read what they announce, and refuses what is not its."""
    with memory.MemoryTransport(network, client_id="older") as transport:
        transport.connect()
        with memory_cloud.running(subscriber.Cloud(engine.Inline.of(package), transport, "d")) as cloud:
            yield cloud


def test_the_refusals_of_a_cloud_of_an_older_package_change_nothing_beside_the_right_one(tiny_package, older, network):
    with (
        lonely_cloud(older, network) as outdated,
        memory_cloud.cloud_for(tiny_package, network),
        moving(tiny_package, kind=Restless) as mover,
        Run(tiny_package, network, mover, count=300) as run,
    ):
        run.thread.join(WAIT_S)
        summary = run.edge.summary
        by_cut = run.check_results(tiny_package)

    assert (summary.frames, summary.results, summary.refused, summary.unanswered) == (300, 300, 0, 0)
    assert {"op000", "output"} < set(by_cut)
    assert outdated.summary.refused["wrong_package"] > 0
    assert mover.not_ready == 0


@pytest.mark.usefixtures("soon")
def test_alone_it_is_asked_again_from_time_to_time_while_the_device_answers(tiny_package, older, network):
    among = [choices()[1], DEAR_HERE]
    with (
        moving(tiny_package, among=among) as mover,
        contextlib.ExitStack() as before,
        Run(tiny_package, network, mover, **ENDLESS) as run,
    ):
        outdated = before.enter_context(memory_cloud.cloud_for(older, network, name="older"))
        wait_for(lambda: mover.not_ready >= 2 and run.edge.summary.answered_here > 20)
        assert "tail not ready" in mover.switches
        before.close()
        with memory_cloud.cloud_for(tiny_package, network) as right:
            wait_for(lambda: right.summary.results > 20)
            run.edge.stop()
            run.thread.join(WAIT_S)
        summary = run.edge.summary
        run.check_results(tiny_package)

    assert run.values()["cuts_not_ready_total",] == mover.not_ready
    assert summary.frames == summary.results + summary.refused
    assert summary.refused <= outdated.summary.refused["wrong_package"]


class Late(engine.Inline):
    """Opens what is asked ahead of frames on a thread of its own, as workers do, and only when it may."""

    def __init__(self, answerer):
        super().__init__(answerer)
        self.may_open = threading.Event()
        self.asked = []
        self._openings = []

    def open(self, package, cut, done):
        def run():
            assert self.may_open.wait(WAIT_S)
            super(Late, self).open(package, cut, done)

        self.asked.append(cut.id)
        self._openings.append(threading.Thread(target=run))
        self._openings[-1].start()

    def close(self):
        self.may_open.set()
        for each in self._openings:
            each.join(WAIT_S)
        super().close()


def test_frames_go_on_by_the_old_cut_while_a_cloud_opens_the_tail_of_a_better_one(tiny_package, network):
    """op001 is the better cut by far, and its tail is not open: no frame of it leaves before."""
    among = [Choice("op000", 0.0, 900_000, 0.01, 0.04), Choice("op001", 0.0, 300, 0.0, 0.0), DEAR_HERE]
    late = Late.of(tiny_package)
    with contextlib.closing(late), memory.MemoryTransport(network, client_id="cloud") as transport:
        transport.connect()
        others = peers.of(transport, ("d", "cloud"), 1, (tiny_package,), None)
        known = exactness.Exactness(transport, "d", (tiny_package,), None)
        with (
            memory_cloud.running(subscriber.Cloud(late, transport, "d", peers=others, exactness=known)) as cloud,
            moving(tiny_package, among=among) as mover,
            Run(tiny_package, network, mover, **ENDLESS, window=1) as run,
        ):
            wait_for(lambda: "op001" in late.asked)
            seen = run.edge.summary.results
            wait_for(lambda: run.edge.summary.results > seen + 20)
            before = [result.cut for result in run.watcher.answers]
            late.may_open.set()
            wait_for(lambda: "op001" in [result.cut for result in run.watcher.answers])
            run.edge.stop()
            run.thread.join(WAIT_S)
        by_cut = run.check_results(tiny_package)

    assert set(before) == {"op000"}
    assert [cut for cut, _ in itertools.groupby(by_cut)] == ["op000", "op001"]
    assert mover.not_ready == cloud.summary.refused.total() == run.edge.summary.unanswered == 0


def test_a_wall_clock_that_is_set_moves_no_cut(tiny_package, network, monkeypatch):
    """Of edge and cloud, which are one machine here, again and again: hours to and fro at each look."""
    real, calls = time.time_ns, itertools.count()
    among = [Choice("op000", 0.0, 300, 0.0, 0.0), Choice("input", 0.0, 900_000, 0.01, 0.04), DEAR_HERE]
    with (
        memory_cloud.cloud_for(tiny_package, network),
        moving(tiny_package, among=among) as mover,
        Run(tiny_package, network, mover, count=1_000_000, rate_fps=100.0) as run,
    ):
        wait_for(lambda: run.edge.summary.results > 10)
        monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9 * (next(calls) % 3 - 1))
        monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)
        seen = run.edge.summary.results
        wait_for(lambda: run.edge.summary.results > seen + 50)
        now = mover.present
        run.edge.stop()
        run.thread.join(WAIT_S)
        by_cut = run.check_results(tiny_package)

    assert next(calls) > 50
    assert set(by_cut) == {"op000"}
    assert mover.last_switch is None
    assert max(now.rtt_s, now.cloud_wait_s, now.s_per_bit * 300 * 8) < WAIT_S
    assert min(now.rtt_s, now.cloud_wait_s, now.s_per_bit) >= 0.0
