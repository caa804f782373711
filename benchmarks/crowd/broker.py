"""A broker of the fleet, which can be killed, and whose saves can be measured."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import harness

from broker.mqtt.transport import MqttTransport
from broker.transport.address import Address, Credentials

_LOOK_S = 0.01
_PATIENCE_S = 600.0
_SAVES = 5


class Broker:
    """`tflsplit broker run`, which becomes Mosquitto; it can be killed. With the credentials of `who` it is looked at
    whether it is there."""

    def __init__(self, folder: Path, where: Address, who: Credentials) -> None:
        self.folder, self.where = folder, where
        self._who = who
        self._saved = folder / "server" / "data" / "mosquitto.db"
        self._log = (folder / "log").open("w")
        self._start()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stored_bytes(self) -> int:
        return self._saved.stat().st_size if self._saved.exists() else 0

    @property
    def written_bytes(self) -> int:
        found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{self.pid}/io").read_text(), re.MULTILINE)
        assert found is not None  # every Linux has it
        return int(found[1])

    def save_s(self) -> float:
        """Processor time of Mosquitto, which has one thread, for the cheapest of some saves: others serve too."""
        path, taken = self._saved, []
        for _ in range(_SAVES):
            before_s = self._taken_s()
            saved_ns = path.stat().st_mtime_ns if path.exists() else 0
            os.kill(self.pid, signal.SIGUSR1)
            while not path.exists() or path.stat().st_mtime_ns == saved_ns:
                self._check_runs()
                time.sleep(_LOOK_S)
            taken.append(self._taken_s() - before_s)
        return min(taken)

    def _taken_s(self) -> float:
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def kill_and_start(self) -> tuple[float, float]:
        """By SIGKILL; when that was, and when it took connections again, by the monotonic clock."""
        at_s = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        return at_s, self._start()

    def _start(self) -> float:
        command = [harness.TFLSPLIT, "broker", "run", str(self.folder)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=harness.environment())
        while not self._takes_connections():
            time.sleep(_LOOK_S)
        there_s = time.monotonic()
        with MqttTransport(self.where, client_id="bench-look", credentials=self._who) as looking:
            looking.connect(timeout_s=_PATIENCE_S, keep_trying=True)
        return there_s

    def _takes_connections(self) -> bool:
        self._check_runs()
        with contextlib.suppress(OSError), socket.create_connection((self.where.host, self.where.port)):
            return True
        return False

    def _check_runs(self) -> None:
        if self._process.poll() is not None:
            raise SystemExit(f"the broker ended with code {self._process.returncode}; see {self._log.name}")
