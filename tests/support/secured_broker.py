"""A Mosquitto run from the folder that `broker.deploy` makes, and clients with what it hands out."""

import contextlib
import pathlib
import random
import re
import signal
import socket
import subprocess

import ports
import waiting

from broker.deploy import folder, process
from broker.local import server
from broker.mqtt import transport
from broker.transport import credentials
from broker.transport.backoff import Backoff

SOON_S = waiting.WAIT_S
QUICKLY = Backoff(first_s=0.02, most_s=0.2, stable_s=0.0)

DEPLOYMENT = "plant1"
DEVICES = ("cam1", "cam10", "cam2")


class Secured:
    """`observer` is an identity that may read everything, to see what really passed."""

    def __init__(self, path, **options):
        self.path = pathlib.Path(path)
        self.port = ports.free_port()
        wanted = folder.Wanted(DEVICES, clouds=("cloud", "cloud2"), consumers=("consumer", "observer"))
        self.ledger = folder.init(
            self.path, wanted, deployment=DEPLOYMENT, hosts=("localhost",), port=self.port, **options
        )
        rules = self.path / "server" / "access.acl"
        rules.write_text(rules.read_text().replace("user observer\n", "user observer\ntopic read #\n"))
        with (self.path / "server" / "mosquitto.conf").open("a") as config:
            config.write("log_type information\n")  # says when a reload was done
        self._stack = contextlib.ExitStack()
        self._process = None
        self._number = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stack.close()
        self.kill()

    def start(self):
        self._log = self.path.with_name(f"{self.path.name}.log")
        before = self._started()
        with self._log.open("ab") as log:
            command = [server.mosquitto_path(), "-c", "mosquitto.conf"]
            self._process = subprocess.Popen(command, cwd=self.path / "server", stderr=log)
        waiting.wait_for(lambda: self._answers() and self._started() > before)

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def reload(self):
        before = self._log.read_text().count("Reloading config")
        assert process.reload(self.path)
        waiting.wait_for(lambda: self._log.read_text().count("Reloading config") > before)

    def wait_until_gone(self, client_id):
        waiting.wait_for(
            lambda: re.search(rf"Client {client_id} (closed its connection|disconnected)", self._log.read_text())
        )

    def bundle(self, name):
        return credentials.open_bundle(self.path / "clients" / name)

    def client(self, name, *, at=None, shown=None, is_connected=True, **options):
        """A client with the credentials of `name`, or with those `shown`; it is closed in the end."""
        if at is None or shown is None:
            bundle = self.bundle(name)
            at, shown = at or bundle.address, shown or bundle.credentials
        self._number += 1
        options = {"client_id": f"{name}-{self._number}", "backoff": QUICKLY, "randomness": random.Random(1)} | options
        made = transport.MqttTransport(at, credentials=shown, **options)
        self._stack.callback(made.close, timeout_s=0)
        if is_connected:
            made.connect(timeout_s=SOON_S)
        return made

    def _started(self):
        """How often it said that it runs: its port answers before, when a signal to reload would still end it."""
        return self._log.read_text().count(" running") if self._log.is_file() else 0

    def _answers(self):
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False
