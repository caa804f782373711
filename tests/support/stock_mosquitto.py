"""A Mosquitto that can be killed, frozen and started again on its port."""

import contextlib
import os
import signal
import socket
import subprocess

import ports
from waiting import wait_for

from broker.local import server
from broker.transport.address import Address

# Saved every ten seconds, as `tflsplit broker init` has it. Mosquitto 2.0.11 counts what waits for a
# session anew at each restart, and drops all that comes for it once the count is full: a test with twenty kills would
# get there.
DURABLE = (
    "persistence true",
    "autosave_on_changes false",
    "autosave_interval 10",
    "max_queued_messages 100000",
    "set_tcp_nodelay true",
)


def answers(address):
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), 1.0) as probe:
        probe.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
        return probe.recv(1) == b"\x20"
    return False


class Mosquitto:
    """With the configuration it is installed with, plus `lines`; what it keeps is kept in `folder`. `inside` begins a
    command that runs it elsewhere, where it has the address `host`."""

    def __init__(self, folder, lines=(), *, host="127.0.0.1", inside=()):
        self.address = Address(host, ports.free_port())
        self._inside = inside
        self._folder = folder
        self._config = folder / f"{self.address.port}.conf"
        self._process = None
        self.configure(lines)
        self.start()

    @property
    def url(self):
        return f"mqtt://{self.address}"

    @property
    def pid(self):
        return self._process.pid

    def configure(self, lines):
        """Of effect with the next start."""
        place = (f"persistence_location {self._folder}/", *(["user root"] if os.geteuid() == 0 else []))
        said = (f"listener {self.address.port} {self.address.host}", "allow_anonymous true", *place, *lines)
        self._config.write_text("\n".join(said) + "\n")

    def start(self):
        command = [*self._inside, server.mosquitto_path(), "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def is_there():
            assert self._process.poll() is None, "mosquitto ended at once"
            return answers(self.address)

        wait_for(is_there)

    def reload(self):
        """It reads its certificates again; connections stay, and none is refused meanwhile."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def signal(self, number):
        self._process.send_signal(number)

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def end(self):
        self.kill()
