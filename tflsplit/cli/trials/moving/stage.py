"""Broker, cloud and a link that is as a trace says, for devices that come one after the other.

The link is imitated by a relay between device and broker. The cloud is `tflsplit cloud`, stopped and continued for the
share of its time that a trace says that others take of it, as a busy processor's scheduler does.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from broker.links.playback import Play
from broker.links.relay import Relay
from broker.links.shaping import Shape
from broker.local import server
from broker.transport.address import Address
from tflsplit import errors, strict_json
from tflsplit.cli.trials import replay_stage
from tflsplit.cli.trials.moving import task as tasks
from tflsplit.cli.trials.moving.task import Task, Told
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace

DEVICE = ("-m", "tflsplit.cli.trials.moving.device")
# From when all know when the trace begins, until it does.
_AHEAD_S = 0.3
# A slice of a processor's time, as schedulers give it.
_SLICE_S = 0.004


class Stage:
    """`run` has one device at a time."""

    def __init__(self, broker: Address, cloud_pid: int, play: Play, folder: Path) -> None:
        self._broker = broker
        self._cloud_pid = cloud_pid
        self._play = play
        self._folder = folder

    def run(self, task: Task, program: tuple[str, ...] = DEVICE) -> Told:
        """What the device told; DeviceError if it failed. `program` runs it, given the task's file."""
        trace = self._play.trace
        shape = Shape(trace.mean_bps, self._play.rtt_s / 2)
        with Relay(self._broker, up=shape, down=shape) as relay:
            path = self._folder / "task.json"
            path.write_text(json.dumps(replace(task, broker=f"mqtt://{relay.address}").as_json()))
            command = replay_stage.command_of(*program, str(path))
            with (
                (self._folder / "device.log").open("w+") as said,
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
                ) as device,
            ):
                try:
                    return self._played(device, relay)
                except (ValueError, OSError, KeyError) as cause:
                    device.kill()
                    device.wait()
                    said.seek(0)
                    lines = said.read().strip().splitlines() or [f"exit {device.returncode}"]
                    raise errors.DeviceError(f"the device at {task.policy} failed: {lines[-1]}") from cause
                finally:
                    device.kill()

    def _played(self, device: "subprocess.Popen[str]", relay: Relay) -> Told:
        assert device.stdin is not None and device.stdout is not None  # noqa: S101, PT018 - for mypy: they are pipes
        if device.stdout.readline().strip() != tasks.READY:
            raise ValueError("it ended before it was ready")
        starts_s = time.monotonic() + _AHEAD_S
        relay.play(self._play, starts_s)
        device.stdin.write(f"{starts_s!r}\n")
        device.stdin.flush()
        with _busy(self._cloud_pid, self._play, starts_s):
            return Told.from_json(strict_json.parse(device.stdout.readline()))


@contextlib.contextmanager
def stage(package: Package, play: Play, folder: Path) -> Iterator[Stage]:
    """Starts broker and cloud. Files go to `folder`."""
    with (
        server.run(port=0) as serving,
        replay_stage.running("cloud", str(package.path), *replay_stage.at(serving.address)) as cloud,
    ):
        replay_stage.await_online(serving.address, "cloud")
        yield Stage(serving.address, cloud.pid, play, folder)


@contextlib.contextmanager
def _busy(pid: int, play: Play, starts_s: float) -> Iterator[None]:
    """Takes the trace's share of a process's time from it, until the block ends."""
    if not any(said.load for said in play.trace.conditions):
        yield
        return
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            load = play.trace.conditions_at(max(0.0, time.monotonic() - starts_s)).load
            if load:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(load * _SLICE_S)
                os.kill(pid, signal.SIGCONT)
            ended.wait((1 - load) * _SLICE_S)

    thread = threading.Thread(target=work, name="busy-cloud")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
