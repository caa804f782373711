"""How much of a cloud one device may hold."""

import pytest

from broker.cloud.turns.shares import Limits, Shares


def filled(limits, *devices, frame_bytes=1):
    """Each takes what it may, in turns."""
    made, held = Shares(limits), dict.fromkeys(devices, 0)
    while any(took := [device for device in devices if made.has_room(device)]):
        for device in took:
            if made.has_room(device):
                made.add(device, frame_bytes)
                held[device] += 1
    return made, held


@pytest.mark.parametrize(("devices", "each"), [("a", 50), ("ab", 33), ("abcd", 20)])
def test_devices_that_flood_leave_as_much_as_each_has(devices, each):
    _, held = filled(Limits(frames=100), *devices)

    assert all(abs(count - each) <= 1 for count in held.values())


def test_a_device_keeps_an_ordinary_window_however_full_it_is():
    made, _ = filled(Limits(frames=30), "a", "b", "c")

    for _ in range(8):
        assert made.has_room("late")
        made.add("late", 1)
    assert not made.has_room("late")


def test_bytes_count_too_and_come_back():
    made, held = filled(Limits(frames=10_000, bytes=1000), "a", frame_bytes=10)
    assert held["a"] == 50
    made.remove("a", 10)

    assert made.has_room("a")
