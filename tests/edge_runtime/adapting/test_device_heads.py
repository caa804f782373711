"""Heads on a device that holds one or two: what is in use serves, or the CPU does, or a frame waits and is counted."""

import logging

import exclusive_device
import numpy as np
import pytest
from waiting import wait_for

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.adapting import candidates
from edge_runtime.adapting.candidates import Computing
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.switching.choices import Choice

ROW = np.array([[1, -2, 3, 4]], np.int8)
CUTS = ("input", "op000", "op001", "output")


@pytest.fixture
def stick():
    return exclusive_device.Exclusive()


@pytest.fixture
def opened(request, tiny_package, stick):
    """Starts at op000, which is loaded."""

    def begin(*, fallback=None, start="op000"):
        listed = [Choice(cut, 0.0, 100, 0.0, 0.0) for cut in CUTS]
        computing = Computing(stick, fallback)
        context = candidates.opened_on(tiny_package, listed, start, computing)
        found = context.__enter__()
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        return found

    return begin


def check(package, head, cut):
    """It is the head of that cut."""
    with Interpreter(package.head_bytes(package.cut(cut))) as sliced:
        assert head.cut.id == cut
        assert all(map(np.array_equal, head.run((ROW,)), sliced.run(ROW)))


def where(head):
    return head.condition.runs_on


def test_what_is_in_use_serves_until_the_next_one_is_open(opened, stick, tiny_package):
    stick.holds = 2
    _, device = opened()
    stick.may_open.clear()
    assert device.take("op001") is None
    check(tiny_package, device.in_use("op000"), "op000")
    assert device.take("op001") is None
    stick.may_open.set()
    wait_for(lambda: device.take("op001") is not None)
    check(tiny_package, device.in_use("op001"), "op001")
    wait_for(lambda: stick.is_taken == 1)

    assert (device.reloads.moves, device.reloads.waits, device.holds_one) == (1, 0, False)


def test_one_that_is_not_wanted_any_more_is_closed_when_it_is_open(opened, stick, tiny_package):
    stick.holds = 2
    _, device = opened()
    stick.may_open.clear()
    assert device.take("op001") is None
    stick.may_open.set()
    wait_for(lambda: stick.is_taken == 2)
    assert device.take("output") is None
    check(tiny_package, device.in_use("op000"), "op000")
    wait_for(lambda: device.take("output") is not None)
    check(tiny_package, device.in_use("output"), "output")

    assert device.reloads.moves == 1


def test_a_device_that_holds_one_is_found_out_and_then_frames_wait(opened, stick, tiny_package, caplog):
    caplog.set_level(logging.INFO)
    _, device = opened()
    assert device.take("op001") is None
    check(tiny_package, device.in_use("op000"), "op000")
    wait_for(lambda: device.take("op001") is not None)
    check(tiny_package, device.in_use("op001"), "op001")
    check(tiny_package, device.take("op000"), "op000")  # at once, since it is known

    assert (device.reloads.moves, device.reloads.waits) == (2, 2)
    assert "the device takes one head at a time cut=op001 reason=the stick is taken" in caplog.text
    assert "a frame waited for its head cut=op000 waited_s=" in caplog.text


def test_with_a_fallback_no_frame_waits(opened, stick, tiny_package):
    _, device = opened(fallback=Cpu())
    assert where(device.in_use("op000")) == "stick"
    wait_for(lambda: device.take("op001") is not None)
    wait_for(lambda: where(device.in_use("op001")) == "stick")
    stick.may_open.clear()
    for cut in ("output", "op000"):  # two moves while the device loads
        head = device.take(cut)
        check(tiny_package, head, cut)
        assert where(device.in_use(cut)) == "cpu"
    stick.may_open.set()
    wait_for(lambda: where(device.in_use("op000")) == "stick")
    check(tiny_package, device.in_use("op000"), "op000")

    assert device.reloads.waits == 0
    assert stick.is_taken == 1


def test_a_head_that_the_device_refuses_leaves_it_the_one_before(opened, stick, tiny_package):
    _, device = opened()
    stick.refused = "op001"
    assert device.take("op001") is None
    wait_for(lambda: device._opening.is_done)
    with pytest.raises(errors.CutError, match="op001: the stick does not like it"):
        device.take("op001")
    check(tiny_package, device.in_use("op000"), "op000")

    assert device.reloads.failures == 1


def test_a_device_that_takes_none_any_more_ends_it(opened, stick):
    _, device = opened()
    stick.refused = "head of"
    assert device.take("op001") is None
    wait_for(lambda: device._opening.is_done)

    with pytest.raises(errors.DeviceError, match="does not like it"):
        device.take("op001")


def test_the_input_needs_no_device_and_leaves_its_head_there(opened, stick):
    found, device = opened()
    by_id = {each.choice.id: each.head for each in found}
    assert by_id["input"].run((ROW,)) == (ROW,)
    assert [by_id[cut] for cut in CUTS[1:]] == [None] * 3
    assert device.in_use("op000") is device.take("op000")

    assert len(stick.opened) == 1


def test_heads_that_are_not_compiled_run_on_the_cpu_if_they_may(opened, stick, tiny_package):
    stick.needs_compiled = True
    with pytest.raises(errors.PackageError, match="op000 is not compiled"):
        opened()
    found, _ = opened(fallback=Cpu())
    for each in found[1:]:
        check(tiny_package, each.head, each.choice.id)

    assert {where(each.head) for each in found} == {None, "cpu"}
    assert not stick.opened
    assert not Computing(stick).can_run(tiny_package, tiny_package.cut("op000"))
    assert Computing(stick).can_run(tiny_package, tiny_package.cut("input"))
