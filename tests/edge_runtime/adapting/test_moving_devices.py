"""An edge that moves its cut on an accelerator, a stand-in that holds one head at a time: every result is right."""

import contextlib

import exclusive_device
import pytest
import tiny_models
from memory_cloud import cloud_for
from moving_edge import USUAL, Restless, Run, choices
from waiting import WAIT_S, wait_for

from broker.transport import memory
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.adapting.candidates import Computing
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal


@contextlib.contextmanager
def moving(package, stick, *, fallback=None, among=None):
    listed = among or choices()
    controller = Restless(listed, USUAL, Goal(), Tuning(probing=None), start="op000")
    with candidates.opened_on(package, listed, "op000", Computing(stick, fallback)) as (opened, device):
        yield adaptation.Adaptation(opened, controller, "op000", device)


@pytest.mark.parametrize(("holds", "fallback"), [(1, None), (1, Cpu()), (2, None), (2, Cpu())])
def test_each_result_is_the_whole_models_whatever_the_device_loads(tiny_package, holds, fallback):
    network, stick = memory.MemoryBroker(), exclusive_device.Exclusive()
    stick.holds = holds
    with (
        cloud_for(tiny_package, network) as cloud,
        moving(tiny_package, stick, fallback=fallback) as mover,
        Run(tiny_package, network, mover, count=300) as run,
    ):
        run.thread.join(WAIT_S)
        summary = run.edge.summary
        by_cut = run.check_results(tiny_package)

    assert (summary.frames, summary.results, summary.unanswered, summary.refused) == (300, 300, 0, 0)
    assert {"input", "op000"} < set(by_cut)
    assert cloud.summary.refused.total() == 0
    assert run.values()["head_loads_total",] == mover.reloads.moves > 0
    waited_s = run.values()["head_load_wait_seconds_total",]
    assert (waited_s > 0) == (mover.reloads.waits > 0) == (holds == 1 and fallback is None)
    wait_for(lambda: stick.is_taken == 0)


def test_a_head_that_the_device_refuses_is_left_out_and_counted(tiny_package):
    network, stick = memory.MemoryBroker(), exclusive_device.Exclusive()
    with (
        cloud_for(tiny_package, network),
        moving(tiny_package, stick) as mover,
        Run(tiny_package, network, mover, count=1_000_000, rate_fps=100.0) as run,
    ):
        stick.refused = "op001"
        wait_for(lambda: mover.not_ready >= 1 and mover.reloads.moves > 2)
        run.edge.stop()
        run.thread.join(WAIT_S)

    assert "op001" not in run.check_results(tiny_package)
    assert mover.reloads.failures == mover.not_ready


def test_a_device_that_wants_compiled_heads_moves_among_those(tiny_package):
    network, stick = memory.MemoryBroker(), exclusive_device.Exclusive()
    stick.needs_compiled = True
    package = tiny_models.with_compiled(tiny_package, "op000", "op001")
    among = [each for each in choices() if Computing(stick).can_run(package, package.cut(each.cut))]
    with (
        cloud_for(package, network),
        moving(package, stick, among=among) as mover,
        Run(package, network, mover, count=1_000_000, rate_fps=200.0) as run,
    ):
        wait_for(lambda: mover.reloads.moves > 4 and run.edge.summary.results > 50)
        run.edge.stop()
        run.thread.join(WAIT_S)
        summary = run.edge.summary
        by_cut = run.check_results(package)

    assert summary.frames == summary.results
    assert summary.refused == 0
    assert set(by_cut) == {"input", "op000", "op001"}
    assert run.values()["head_loads_total",] == mover.reloads.moves < len(stick.opened)
