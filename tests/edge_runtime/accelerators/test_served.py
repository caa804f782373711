"""One owner of a real delegate that only one process may open, and several users of it."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
import tiny_models
from waiting import WAIT_S, wait_for

from edge_runtime import head
from edge_runtime.accelerators import child, choice, served
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.owner import Owner
from edge_runtime.accelerators.service import Retries
from tflsplit import errors

MODEL = tiny_models.residual_model()
INPUTS = np.random.default_rng(0).integers(-128, 128, (20, 1, 4), dtype=np.int8)
SOON = Retries(first_s=0.02, longest_s=0.1, tries=1000)


@pytest.fixture
def device(library, tmp_path):
    """Words for a delegate of a device that one process may have at a time, as the Edge TPU is."""
    return f"delegate:{library}?alone={tmp_path}/taken"


@contextlib.contextmanager
def serving(words, path, **limits):
    owner = Owner(choice.parse(words, limits=child.Limits(60.0, 10.0)), path, **limits)
    thread = threading.Thread(target=owner.serve)
    thread.start()
    try:
        yield owner
    finally:
        owner.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def used(path, query=""):
    return choice.parse(f"served:{path}{query}")


def expected():
    on_cpu = Cpu().open(MODEL, name="m")
    found = [on_cpu.run(array)[0].tolist() for array in INPUTS]
    on_cpu.close()
    return found


def test_a_device_that_is_taken_cannot_be_opened_twice_without_an_owner(device):
    first = choice.parse(device).open(MODEL, name="m")
    with pytest.raises(errors.DeviceError, match="gave no delegate"):
        choice.parse(device).open(MODEL, name="m")
    first.close()


def test_several_users_at_once_get_what_each_computed(device, tmp_path):
    found = {}

    def use(number):
        opened = used(tmp_path / "s", f"?weight={number + 1}").open(MODEL, name=f"user {number}")
        found[number] = [opened.run(array)[0].tolist() for _ in range(5) for array in INPUTS]
        opened.close()

    with serving(device, tmp_path / "s") as owner:
        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        wait_for(lambda: not owner._users)
    assert list(found.values()) == [expected() * 5] * 4


def test_its_models_are_named_by_the_device_that_computes(device, tmp_path, tiny_package):
    cut = tiny_package.cut("op001")
    direct = head.Head(tiny_package, cut, accelerator=choice.parse(device))
    words = direct.kernels
    direct.close()
    with serving(device, tmp_path / "s"):
        shared = head.Head(tiny_package, cut, accelerator=used(tmp_path / "s"))
        assert shared.kernels == words
        shared.close()


def test_a_process_that_dies_costs_its_users_nothing_but_a_new_start(device, tmp_path):
    with serving(device, tmp_path / "s") as owner:
        opened = used(tmp_path / "s").open(MODEL, name="m")
        before = opened.run(INPUTS[0])[0].tolist()
        os.kill(owner._running.pid, signal.SIGKILL)
        with pytest.raises(errors.DeviceError, match="SIGKILL during an inference"):
            opened.run(INPUTS[0])
        again = used(tmp_path / "s").open(MODEL, name="m")
        assert again.run(INPUTS[0])[0].tolist() == before
        again.close()


def test_a_failure_of_one_model_is_not_that_of_the_others(library, tmp_path):
    broken = tmp_path / "broken"
    words = f"delegate:{library}?alone={tmp_path}/taken&invoke=fail&while={broken}"
    with serving(words, tmp_path / "s"):
        first, second = (used(tmp_path / "s").open(MODEL, name=name) for name in "ab")
        broken.touch()
        with pytest.raises(errors.DeviceError, match="the device is gone"):
            first.run(INPUTS[0])
        broken.unlink()
        assert second.run(INPUTS[1])[0].tolist() == expected()[1]
        second.close()


def test_an_owner_that_dies_leaves_frames_to_the_fallback_until_it_is_back(device, tmp_path, tiny_package):
    command = [sys.executable, "-m", "tflsplit", "accelerator", "serve", str(tmp_path / "s"), "--accelerator", device]

    @contextlib.contextmanager
    def process():
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
            for line in started.stderr:
                if "accelerator served" in line:
                    break
            yield started
            started.kill()
            started.wait(WAIT_S)

    cut = tiny_package.cut("op001")
    array = np.zeros((1, 4), np.int8)
    asked = {"accelerator": used(tmp_path / "s"), "fallback": Cpu(), "retries": SOON}
    with head.Head(tiny_package, cut, **asked) as early:  # before there is an owner
        assert early.condition.runs_on == "cpu"
        with process() as owner:
            wait_for(lambda: early.condition.runs_on == f"served:{tmp_path}/s")
            served = early.run((array,))[0].tolist()
            owner.send_signal(signal.SIGKILL)
            owner.wait(WAIT_S)
            assert early.run((array,))[0].tolist() == served
            assert (early.condition.runs_on, early.counters.frames_on_fallback) == ("cpu", 1)
        with process() as owner:  # the socket that the first one left does not keep it from starting
            wait_for(lambda: early.condition.runs_on == f"served:{tmp_path}/s")
            assert early.run((array,))[0].tolist() == served
            owner.send_signal(signal.SIGTERM)
            assert owner.wait(WAIT_S) == 0
    assert not (tmp_path / "s").exists()


def test_without_an_owner_and_without_a_fallback_it_is_said_how_to_get_one(tmp_path, tiny_package):
    with pytest.raises(errors.DeviceError, match=r"no owner answers there .*tflsplit accelerator serve"):
        head.Head(tiny_package, tiny_package.cut("op001"), accelerator=used(tmp_path / "s"))


@pytest.mark.parametrize(
    ("request_", "with_model", "said"),
    [
        (b"no JSON", True, "Expecting value"),
        (b'{"name": "m", "weight": 0}', True, "a weight of more than 0"),
        (b'{"name": "m", "weight": 1}', False, "expected one file descriptor"),
        (b'{"name": "m", "weight": 1}', True, "m"),
    ],
)
def test_what_is_no_request_is_refused_and_harms_nobody(device, tmp_path, request_, with_model, said):
    with serving(device, tmp_path / "s") as owner:
        kept = used(tmp_path / "s").open(MODEL, name="kept")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger, open(__file__, "rb") as no_model:
            stranger.connect(str(tmp_path / "s"))
            stranger.recv(1000)
            socket.send_fds(stranger, [request_], [no_model.fileno()] if with_model else [])
            answer = stranger.recv(5000).decode()
        assert '"failure"' in answer
        assert said in answer
        assert kept.run(INPUTS[0])[0].tolist() == expected()[0]
        assert len(owner._users) <= 2
        kept.close()


def test_a_user_too_many_is_turned_away(device, tmp_path):
    with serving(device, tmp_path / "s", most_users=1):
        kept = used(tmp_path / "s").open(MODEL, name="kept")
        with pytest.raises(errors.DeviceError, match="it has 1 users, the most that it takes"):
            used(tmp_path / "s").open(MODEL, name="more")
        kept.close()


def test_the_socket_is_for_whom_its_mode_says_and_has_one_owner(device, tmp_path):
    with serving(device, tmp_path / "s", mode=0o600):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
        with pytest.raises(errors.SettingsError, match="another owner serves there; end it"):
            Owner(choice.parse(device), tmp_path / "s")


def test_a_place_where_no_socket_can_be_is_said_before_the_device_is_opened(tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for place, said in (
        ("file", "is there, and no socket; remove it"),
        ("link", "is there, and no socket; remove it"),
        (".", "is there, and no socket; remove it"),
        ("x" * 108, "a socket's path has at most 107; shorten it"),
    ):
        with pytest.raises(errors.SettingsError, match=said):
            Owner(choice.parse("delegate:/nowhere/lib.so"), tmp_path / place)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("words", ["served:", "served:/s?weight=0", "served:/s?weight=much", "served:/s?cores=1"])
def test_names_of_served_ones_are_checked(words):
    with pytest.raises(errors.SettingsError):
        choice.parse(words)


def test_an_opening_asks_its_owner_once_what_it_owns(device, tmp_path, tiny_package, monkeypatch):
    asked = []
    line = served._Line
    monkeypatch.setattr(served, "_Line", lambda given: asked.append(given) or line(given))
    path = tmp_path / "owner.sock"
    with serving(device, path), head.Head(tiny_package, "op001", accelerator=used(path)) as opened:
        assert opened.condition.runs_on == f"served:{path}"
    assert len(asked) == 2  # and opens the model
