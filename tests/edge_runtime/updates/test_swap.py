"""An accelerator that takes one head at a time: frames go on, on the CPU, while heads are exchanged on it."""

import pytest
from memory_cloud import cloud_for

from broker.messages.updates import State
from edge_runtime.accelerators.cpu import Cpu
from tflsplit import errors


class Exclusive:
    """Opens one head at a time, as a device on USB; `refused` and `wrong` name those that it does not or badly."""

    name, needs_compiled, is_external = "stick", False, True

    def __init__(self):
        self.refused = ""
        self.wrong = ""
        self.opened = []
        self._is_taken = False

    def open(self, model, *, name):
        if self._is_taken:
            raise errors.DeviceError("the stick is taken")
        if self.refused and self.refused in name:
            raise errors.DeviceError("the stick does not like it")
        self._is_taken = True
        self.opened.append(name)
        return Opened(self, Cpu().open(model, name=name), is_wrong=bool(self.wrong) and self.wrong in name)

    def free(self):
        self._is_taken = False


class Opened:
    name, properties = "stick", {}

    def __init__(self, stick, opened, *, is_wrong):
        self._stick, self._opened, self._is_wrong = stick, opened, is_wrong
        self.outputs = opened.outputs

    def run(self, *arrays):
        found = self._opened.run(*arrays)
        return tuple(~array for array in found) if self._is_wrong else found

    def close(self):
        if self._opened is not None:
            self._stick.free()
            self._opened.close()
            self._opened = None


@pytest.fixture
def stick():
    return Exclusive()


@pytest.fixture
def device(served, stick):
    started = served.start(resolve=lambda package, cut: stick)
    started.settles.wait_for(lambda all_: len(all_) >= 5)
    return started


def check_nothing_lost(device):
    summary = device.stop()

    assert device.failure is None
    assert (summary.unanswered, summary.refused, dict(summary.dropped)) == (0, 0, {})
    assert sorted(settled.sequence for settled in device.settles.all) == list(range(summary.frames))


def test_the_new_head_is_tried_on_the_accelerator_before_it_serves_there(served, stick, device, caplog):
    caplog.set_level("INFO")
    outcome = served.push(served.new)

    assert outcome.is_installed
    assert "on stick: 8 golden samples, equal" in caplog.text
    assert device.edge.condition.runs_on == "stick"
    assert ["models" in name for name in stick.opened] == [False, True, True]
    check_nothing_lost(device)


@pytest.mark.parametrize(
    ("trouble", "reason"), [("refused", "the stick does not like it"), ("wrong", "computes something else here")]
)
def test_a_head_that_the_accelerator_refuses_or_gets_wrong_is_left(served, stick, device, trouble, reason):
    setattr(stick, trouble, "models")
    outcome = served.push(served.new)
    since = len(device.settles.all)
    device.settles.wait_for(lambda all_: len(all_) >= since + 5)

    assert outcome.state is State.ROLLED_BACK
    assert reason in outcome.reason
    assert (device.edge.package.digest, device.edge.condition.runs_on) == (served.old.digest, "stick")
    check_nothing_lost(device)


def test_a_roll_back_from_the_first_frames_opens_the_old_head_on_it_again(field, stick):
    with cloud_for(field.old, field.network):
        device = field.start(resolve=lambda package, cut: stick)
        outcome = field.push(field.new)
        since = len(device.settles.all)
        device.settles.wait_for(lambda all_: len(all_) >= since + 10)

        assert outcome.state is State.ROLLED_BACK
        assert (device.edge.package.digest, device.edge.condition.runs_on) == (field.old.digest, "stick")
        assert ["models" in name for name in stick.opened] == [False, True, True, False]
