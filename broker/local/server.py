"""Starts a local broker for a first try and for demos: Mosquitto if it is installed, otherwise amqtt.

The broker stores nothing. `broker.deploy` sets up a secured broker for production.
"""

import contextlib
import importlib.util
import ipaddress
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from broker.transport.address import Address
from tflsplit import errors, extras
from tflsplit.values.classes import dataclass

_log = logging.getLogger(__name__)

KINDS = ("mosquitto", "amqtt")

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_LOOK_S = 0.01

# A CONNECT of MQTT 3.1.1 with an empty client id and a clean session; every broker answers it with CONNACK.
_CONNECT = bytes.fromhex("100c00044d5154540402003c0000")
_CONNACK = 0x20

# Runs the broker until it ends or our end of the pipe on standard input closes, as it also does when we are killed.
# (Linux's PR_SET_PDEATHSIG would end the broker with the thread that started it.) The first line of output is its pid.
_GUARD = """
exec 3<&0
"$@" </dev/null >&2 3<&- & child=$!
echo "$child"
{ read -r _; kill "$child"; } <&3 >/dev/null 2>&1 &
wait "$child"
"""


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A running broker. `kind` is "mosquitto" or "amqtt"; `pid` is that of its process."""

    address: Address
    kind: str
    pid: int

    @property
    def url(self) -> str:
        return f"mqtt://{self.address}"


def available() -> tuple[str, ...]:
    """The kinds of broker that can be started here, best first."""
    found = {"mosquitto": mosquitto_path() is not None, "amqtt": importlib.util.find_spec("amqtt") is not None}
    return tuple(kind for kind in KINDS if found[kind])


def mosquitto_path() -> str | None:
    # Debian installs it in a folder that is only in root's PATH.
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


@contextlib.contextmanager
def run(
    host: str = "127.0.0.1", port: int = 1883, *, kind: str | None = None, allow_remote: bool = False
) -> Iterator[LocalBroker]:
    """A broker that runs as long as the context, and is ready when it begins. Port 0 chooses a free port.

    It asks for no password, so addresses other than this machine's loopback need `allow_remote`. DeviceError if no
    broker is installed or the port is in use, SettingsError for a host or kind that is not allowed.
    """
    _check_host(host, allow_remote=allow_remote)
    kind = _choose(kind)
    port = _check_port(host, port)
    address = Address(host, port)
    with tempfile.TemporaryDirectory(prefix="tflsplit-broker-") as folder:
        server = _Process(_command(kind, address, Path(folder)), Path(folder))
        try:
            _await_answer(address, kind, server)
            _log.info("broker started kind=%s address=%s", kind, address)
            yield LocalBroker(address, kind, server.pid)
        finally:
            server.stop()
            _log.info("broker stopped kind=%s address=%s", kind, address)


def _check_host(host: str, *, allow_remote: bool) -> None:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not allow_remote:
        raise errors.SettingsError(
            f"broker on {host}: it lets anyone in who can reach it; use 127.0.0.1, or allow remote clients explicitly"
        )


def _choose(kind: str | None) -> str:
    here = available()
    if kind is not None and kind not in KINDS:
        raise errors.SettingsError(f"broker kind {kind!r}: expected {' or '.join(KINDS)}")
    if not here or (kind is not None and kind not in here):
        raise errors.DeviceError(
            f"no {kind or 'broker'} is installed here: apt install mosquitto, or {extras.install('demo')}"
        )
    return kind or here[0]


def _check_port(host: str, port: int) -> int:
    """The port itself if it can be bound, or a free one for 0."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            found: int = probe.getsockname()[1]
    except (OSError, OverflowError) as problem:
        raise errors.DeviceError(f"broker cannot listen on {host}:{port}: {_reason(problem)}") from problem
    return found


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def _await_answer(address: Address, kind: str, server: "_Process") -> None:
    give_up_s = time.monotonic() + _START_TIMEOUT_S
    patience = threading.Event()  # never set: waiting for it is a pause between attempts
    while not _answers(address):
        failure = server.failure()
        if failure is not None or time.monotonic() > give_up_s:
            reason = failure or f"no answer within {_START_TIMEOUT_S:g} s"
            raise errors.DeviceError(f"{kind} did not start on {address}: {reason}")
        patience.wait(_LOOK_S)


def _answers(address: Address) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=1.0) as probe:
        probe.sendall(_CONNECT)
        return probe.recv(1) == bytes([_CONNACK])
    return False


class _Process:
    """The broker's process and its guard."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._errors = folder / "errors.log"
        guarded = ["/bin/sh", "-c", _GUARD, "sh", *command]
        with self._errors.open("wb") as log:
            # A session of its own: Ctrl-C must not end the broker before we have disconnected.
            self._process = subprocess.Popen(
                guarded, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert self._process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        self.pid = int(self._process.stdout.readline())

    def failure(self) -> str | None:
        if self._process.poll() is None:
            return None
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it exited with status {self._process.returncode}"

    def stop(self) -> None:
        with self._process as process:  # closing standard input makes the guard end it
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                # The whole session: a broker that ignores SIGTERM, for example a stopped one, would outlive its guard.
                os.killpg(process.pid, 9)


def _command(kind: str, address: Address, folder: Path) -> list[str]:
    if kind == "amqtt":
        return [sys.executable, "-m", "broker.local.amqtt_process", address.host, str(address.port)]
    config = folder / "mosquitto.conf"
    config.write_text(_mosquitto_config(address), encoding="utf-8")
    return [str(mosquitto_path()), "-c", str(config)]


def _mosquitto_config(address: Address) -> str:
    return "\n".join(
        (
            f"listener {address.port} {address.host}",
            "allow_anonymous true",
            "set_tcp_nodelay true",  # else small exchanges take 40 ms with clients that do not help themselves
            "max_inflight_messages 1280",
            "max_queued_messages 2000",
            "max_queued_bytes 268435456",
            "persistence false",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "",
        )
    )
