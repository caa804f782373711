"""How much of a cloud one device may hold."""

import pytest

from broker.cloud.turns.shares import Limits, Shares


def filled(limits, *devices, frame_bytes=1):
    """Each takes what it may, in turns."""
    made, held = Shares(limits), dict.fromkeys(devices, 0)
    while any(took := [device for device in devices if made.has_room(device)]):
        for device in took:
            if made.has_room(device):
                made.count(device, 1, frame_bytes)
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
        made.count("late", 1, 1)
    assert not made.has_room("late")


def test_bytes_count_too_and_come_back():
    made, held = filled(Limits(frames=10_000, bytes=1000), "a", frame_bytes=10)
    assert held["a"] == 50
    made.count("a", -1, -10)

    assert made.has_room("a")


def test_a_rate_lets_some_come_at_once_and_then_as_many_as_it_says():
    made = Shares(Limits(device_per_s=2.0))
    at_once = [made.refusal("a", 10.0) is None for _ in range(12)]
    later = [made.refusal("a", 10.0 + 0.1 * step) is None for step in range(1, 101)]

    assert at_once == [True] * 10 + [False] * 2
    assert later.count(True) == 20
    assert made.over_rate == 2 + 80
    assert "2 frames a second" in made.refusal("a", 20.0)
    assert made.refusal("b", 20.0) is None


def test_a_device_that_has_more_to_send_gets_all_of_its_rate():
    """Its edge waits after each refusal, and sends again what was refused first."""
    made = Shares(Limits(device_per_s=20.0))
    now_s, taken = 10.0, 0
    while now_s < 70.0:
        if made.refusal("a", now_s) is None:
            taken += 1
            now_s += 0.001
        else:
            now_s += 5.0

    assert taken >= 0.9 * 20.0 * 60.0


def test_a_clock_that_goes_back_gives_no_tokens():
    made = Shares(Limits(device_per_s=1.0))
    for _ in range(8):
        assert made.refusal("a", 10.0) is None
    for at_s in (5.0, 10.0, 5.0, 10.5):
        assert made.refusal("a", at_s) is not None
    assert made.refusal("a", 11.0) is None
