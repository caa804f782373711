"""An accelerator that takes one head at a time: frames go on, on the CPU, while heads are exchanged on it."""

import exclusive_device
import pytest
from memory_cloud import cloud_for

from broker.messages.updates import State


@pytest.fixture
def stick():
    return exclusive_device.Exclusive()


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
