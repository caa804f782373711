"""What a plan's candidates come to on the accelerator at hand."""

import exclusive_device
import pytest
import tiny_models
from invented_plans import costing, write_plan

from edge_runtime.accelerators.cpu import Cpu
from tflsplit import errors
from tflsplit.api import adapting
from tflsplit.planning import planfile

# Each is the best under some link.
FIGURES = (
    costing("op000", 300, 0.04, load_s=0.5),
    costing("op001", 100, 0.05, load_s=0.5),
    costing("input", 900, 0.001),
    costing("output", 0, 3600.0, load_s=0.5),
)


@pytest.fixture
def stick(monkeypatch):
    """What is found at any name of an accelerator: it takes compiled heads only."""
    found = exclusive_device.Exclusive()
    found.needs_compiled = True
    monkeypatch.setattr(adapting.accelerators, "of_any", lambda *_, **__: (found, None))
    return found


@pytest.fixture
def begin(tiny_package, stick, tmp_path, monkeypatch):
    def started(*compiled, fallback=None):
        package = tiny_models.with_compiled(tiny_package, *compiled)
        plan = planfile.read(write_plan(tmp_path, package, FIGURES))
        monkeypatch.setattr(adapting.accelerators, "fallback", lambda *_: Cpu() if fallback else None)
        return adapting.started(package, plan, accelerator="coral", fallback=fallback)

    return started


def test_a_candidate_without_a_compiled_head_is_left_out_and_said(begin, stick, caplog):
    with begin("op000") as mover:
        candidates = mover.as_json()["candidates"]
        loads = {each.choice.id: each.choice.load_s for each in mover._by_id.values()}

    assert candidates == ["op000", "input"]
    assert "their heads are not compiled for the Edge TPU cuts=op001,output" in caplog.text
    assert loads == {"op000": 0.5, "input": 0.0}  # a move there has its price
    assert len(stick.opened) == 1


def test_with_a_fallback_it_stays_on_the_cpu_which_is_said(begin, stick, caplog):
    with begin("op000", fallback="cpu") as mover:
        heads = {each.choice.id: each.head for each in mover._by_id.values()}
        assert {"op001", "output"} <= set(heads)
        assert heads["op001"].condition.runs_on == "cpu"

    assert "cuts are no candidates" not in caplog.text
    assert "head runs elsewhere name=stick runs_on=cpu" in caplog.text
    assert len(stick.opened) == 1


def test_a_plan_whose_own_cut_is_not_compiled_is_refused(begin):
    with pytest.raises(errors.PackageError, match="op000 is not compiled"), begin("op001"):
        pass


def test_where_only_one_is_compiled_nothing_can_move_and_that_is_said(begin, caplog, monkeypatch):
    monkeypatch.setattr("tests.tflsplit.api.test_adapting.FIGURES", (FIGURES[0], FIGURES[1], FIGURES[3]))
    with begin("op000") as mover:
        assert mover.as_json()["candidates"] == ["op000"]

    assert "nothing can move: the plan has one candidate cut=op000" in caplog.text
