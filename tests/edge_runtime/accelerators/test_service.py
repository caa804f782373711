"""Staying in service when a device dies, with invented devices: who runs which frame, and when it is tried again."""

import threading

import numpy as np
import pytest
import waiting

from edge_runtime.accelerators.service import Condition, Counters, Retries, Service
from tflsplit import errors

WAIT_S = waiting.WAIT_S
FRAME = np.zeros(1, np.int8)
NOW = Retries(first_s=0.001, longest_s=0.001, tries=4)
NEVER = Retries(first_s=WAIT_S, longest_s=WAIT_S)


class Device:
    """Runs `frames` frames, then fails; its output is its name."""

    outputs = ()

    def __init__(self, name, frames=1000):
        self.name = name
        self.left = frames
        self.is_closed = False
        self.properties = {}

    def run(self, *arrays):
        if self.left == 0:
            raise errors.DeviceError(f"{self.name} is gone")
        self.left -= 1
        return (self.name,)

    def close(self):
        self.is_closed = True


class Opening:
    """Gives these devices one after the other; text in their place refuses, and after the last nothing more comes."""

    def __init__(self, *devices):
        self.devices = list(devices)
        self.is_spent = threading.Event()

    def __call__(self):
        device = self.devices.pop(0) if self.devices else "nothing more"
        if not self.devices:
            self.is_spent.set()
        if isinstance(device, str):
            raise errors.DeviceError(device)
        return device


def served(service, frames):
    return [service.run(FRAME)[0] for _ in range(frames)]


def test_the_frame_in_hand_is_done_again_on_the_fallback():
    dying = Device("a", frames=2)
    service = Service("tpu", Opening(dying), Device("cpu"), NEVER)

    assert served(service, 4) == ["a", "a", "cpu", "cpu"]
    assert dying.is_closed
    assert service.condition == Condition("tpu", "cpu", "a is gone")
    assert service.counters == Counters(failures=1, reopenings=0, frames_on_fallback=2)
    service.close()


def test_the_frame_in_hand_waits_for_the_device_without_a_fallback():
    service = Service("tpu", Opening(Device("a", 1), "busy", "busy", Device("b")), None, NOW)

    assert served(service, 3) == ["a", "b", "b"]
    assert service.condition == Condition("tpu", "tpu")
    assert service.counters == Counters(failures=3, reopenings=1, frames_on_fallback=0)
    service.close()


def test_a_device_that_is_back_takes_over_from_the_fallback():
    back = threading.Event()
    opening = Opening(Device("a", 0), Device("b"))

    def opens():
        device = opening()
        if device.name == "b":
            assert back.wait(WAIT_S)
        return device

    service = Service("tpu", opens, Device("cpu"), NOW)
    before = served(service, 2)
    back.set()
    service._reopener.join(WAIT_S)

    assert before == ["cpu", "cpu"]
    assert served(service, 1) == ["b"]
    service.close()


def test_a_device_that_dies_over_every_frame_is_given_up():
    devices = [Device(str(number), 0) for number in range(4)]
    service = Service("tpu", Opening(*devices), None, NOW)
    with pytest.raises(errors.DeviceError, match="given up after 4 failures in a row, the last: 3 is gone"):
        service.run(FRAME)
    service.close()

    assert all(device.is_closed for device in devices)


def test_a_frame_that_went_well_begins_the_count_of_failures_anew():
    service = Service("tpu", Opening(*(Device(str(number), 1) for number in range(20))), None, NOW)

    assert served(service, 20) == [str(number) for number in range(20)]
    service.close()


@pytest.mark.parametrize(("lives_s", "asked"), [(29.0, [1, 2, 3, 4]), (30.0, [1, 1, 1, 1])])
def test_a_device_that_comes_and_goes_is_asked_for_ever_less_often(lives_s, asked):
    now_s = [0.0]
    waited_for = []

    class Waits(Retries):
        def wait_s(self, failures):
            waited_for.append(failures)
            return 0.0

    class Aging(Device):
        def run(self, *arrays):
            if self.left == 0:
                now_s[0] += lives_s
            return super().run(*arrays)

    devices = [Aging(str(number), 1) for number in range(5)]
    service = Service("tpu", Opening(*devices), None, Waits(), clock=lambda: now_s[0])

    assert served(service, 5) == ["0", "1", "2", "3", "4"]
    assert waited_for == asked
    service.close()


def test_what_cannot_be_opened_at_the_start_is_refused_without_a_fallback():
    with pytest.raises(errors.DeviceError, match="busy"):
        Service("tpu", Opening("busy"), None, NOW)


def test_a_device_that_comes_back_after_the_end_is_closed():
    late, goes_on = Device("b"), threading.Event()
    opening = Opening(Device("a", 0), late)

    def opens():
        device = opening()
        if device is late:
            assert goes_on.wait(WAIT_S)
        return device

    spare = Device("cpu")
    service = Service("tpu", opens, spare, NOW)
    service.run(FRAME)
    assert opening.is_spent.wait(WAIT_S)
    service.close()
    goes_on.set()
    service._reopener.join(WAIT_S)

    assert late.is_closed
    assert spare.is_closed


def test_waits_double_up_to_the_longest():
    retries = Retries(first_s=1.0, longest_s=60.0)

    assert [retries.wait_s(failures) for failures in (1, 2, 3, 6, 7, 8, 10_000)] == [1, 2, 4, 32, 60, 60, 60]
