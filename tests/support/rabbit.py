"""A RabbitMQ node of the tests' own, with MQTT and AMQP on free ports of the loopback interface.

Nothing of a node that the machine may run is touched: name, port mapper, folders, plugins and cookie are this one's.
"""

import contextlib
import ctypes
import datetime
import functools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import ports
import pytest

from broker.amqp.address import AmqpAddress
from broker.deploy import authority
from broker.mqtt.connection import Version
from broker.transport.address import Address, Credentials

USER, PASSWORD = "cloud", "correct horse"

_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1

_START_TIMEOUT_S = 240.0
# Who connects without a user is this one: before RabbitMQ 4, and since.
_ANONYMOUS = ("mqtt.default_user", "mqtt.default_pass"), ("anonymous_login_user", "anonymous_login_pass")

_CONNECT_311 = bytes.fromhex("100c00044d5154540402003c0000")


@functools.cache
def version():
    """As (4, 0, 5); the folder of the server has it in its name."""
    return tuple(map(int, re.search(r"rabbitmq_server-([\d.]+)", os.path.realpath(server_path()))[1].split(".")))


def mqtt_versions():
    """What the installed server speaks."""
    return [Version.MQTT_311, *([Version.MQTT_5] if server_path() and version() >= (3, 13) else [])]


@functools.cache
def server_path():
    """Not Debian's wrapper in /usr/sbin, which changes to the user `rabbitmq` and to the system's folders."""
    found = pathlib.Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(found) if found.is_file() and shutil.which("epmd") else None


def _die_with_the_tests():
    """Even where those are killed: a node would go on for ever."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def skip_where_missing():
    if server_path() is None:
        pytest.skip("RabbitMQ is not installed: apt install rabbitmq-server")


class Rabbit:
    """One node. `amqp`, `amqps` and `mqtt` are its addresses, `ca` trusts it. The user above may do everything over
    AMQP, and over MQTT anyone may."""

    def __init__(self, folder):
        self.folder = folder
        self.amqp = AmqpAddress(Address("127.0.0.1", ports.free_port(), USER), password=PASSWORD)
        self.amqps = AmqpAddress(Address("localhost", ports.free_port(), USER, tls=True), password=PASSWORD)
        self.mqtt = Address("127.0.0.1", ports.free_port())
        self.mqtts = Address("localhost", ports.free_port(), tls=True)
        self.ca = folder / "ca.crt"
        self.password_file = folder / "password"
        self._name = f"tflsplit-{self.mqtt.port}@localhost"
        self._epmd_port = ports.free_port()
        self._dist_port = ports.free_port()
        self._server = None
        self._certify()
        self._configure()
        self._epmd = subprocess.Popen(
            ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - it makes one system call
        )
        self.start()

    @property
    def amqp_url(self):
        """Without the password."""
        return f"amqp://{USER}@{self.amqp}"

    @property
    def mqtt_url(self):
        return f"mqtt://{self.mqtt}"

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [server_path()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - it makes one system call
            )
        pause = threading.Event()
        give_up_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > give_up_s:
                self.end()
                raise AssertionError(f"rabbitmq-server did not start:\n{self._log_end()}")
            pause.wait(0.05)

    def kill(self):
        """`kill -9`, as a machine that loses its power."""
        self._signal(signal.SIGKILL)

    def certify(self, name):
        """What a device of that name shows: its certificate and key."""
        now = datetime.datetime.now(datetime.timezone.utc)
        pair = authority.issue_client(self._authority, name, now, days=1)
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        return Credentials(ca=self.ca, certificate=certificate, key=key)

    def save_its_queues(self):
        """Writes the register of queues, which is done every few seconds: a single node killed sooner comes back
        without the quorum queue that was just made (tried with 3.10.8)."""
        self.ctl("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def freeze(self):
        """Returns once it does nothing more, which is not yet so when the signal is sent."""
        os.killpg(self._server.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._server.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self):
        os.killpg(self._server.pid, signal.SIGCONT)

    def end(self):
        self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def ctl(self, *words):
        """What `rabbitmqctl` says; it takes seconds, for it starts a virtual machine of its own."""
        command = [str(pathlib.Path(server_path()).with_name("rabbitmqctl")), "--quiet", "--node", self._name, *words]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, number)
        self._server.wait()

    def _answers(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.mqtt.host, self.mqtt.port), 1.0) as mqtt,
            socket.create_connection(("127.0.0.1", self.amqp.address.port), 1.0),
        ):
            mqtt.settimeout(10.0)
            mqtt.sendall(_CONNECT_311)
            return mqtt.recv(1) == b"\x20"
        return False

    def _certify(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        self._authority = authority.make("rabbit", now)
        server = authority.issue_server(self._authority, ("localhost",), now, days=1)
        self.ca.write_bytes(self._authority.certificate)
        (self.folder / "server.crt").write_bytes(server.certificate)
        (self.folder / "server.key").write_bytes(server.key)

    def _configure(self):
        (self.folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp.address.port}",
            f"mqtt.listeners.tcp.1 = 127.0.0.1:{self.mqtt.port}",
            f"default_user = {USER}",
            f"default_pass = {PASSWORD}",
            "mqtt.allow_anonymous = true",
            *(
                f"{setting} = {value}"
                for setting, value in zip(_ANONYMOUS[version() >= (4,)], (USER, PASSWORD), strict=True)
            ),
            f"listeners.ssl.1 = 127.0.0.1:{self.amqps.address.port}",
            f"mqtt.listeners.ssl.1 = 127.0.0.1:{self.mqtts.port}",
            "mqtt.ssl_cert_login = true",
            "ssl_cert_login_from = common_name",
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = false",
            f"ssl_options.cacertfile = {self.ca}",
            f"ssl_options.certfile = {self.folder / 'server.crt'}",
            f"ssl_options.keyfile = {self.folder / 'server.key'}",
            "disk_free_limit.absolute = 1MB",  # the tests' disk may be nearly full, and they write little
            "log.console = true",
            "log.file = false",
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")

    def _environment(self):
        return {
            **os.environ,
            "HOME": str(self.folder),  # where the cookie is made
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RUNNING_UNDER_SYSTEMD": "1",  # no shell between us and the node, which would outlive it
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _log_end(self):
        return (self.folder / "log").read_text("utf-8", "replace")[-2000:]
