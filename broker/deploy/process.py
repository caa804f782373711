"""Starts Mosquitto for a deployment, and makes a running one read its files again."""

import logging
import os
import resource
import signal
from pathlib import Path
from typing import NoReturn

from broker.deploy import files, layout, mosquitto
from broker.local.server import mosquitto_path
from tflsplit import errors

_log = logging.getLogger(__name__)


# Files that Mosquitto has open beside its clients: its listener, log, store and the like.
_OWN_FILES = 10


def clients_allowed(files: int) -> int:
    """How many clients a broker serves that may open so many files: each is a connection."""
    return max(0, files - _OWN_FILES)


def raise_limit() -> int:
    """Lets this process, and what it becomes, open as many files as may be; returns how many."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def become(path: Path) -> NoReturn:
    """Replaces this process by Mosquitto, so that signals, exit status and log are Mosquitto's own. It may have as many
    clients as the hard limit of files allows, which is said: at the usual soft limit the 1,015th would be reset."""
    executable = mosquitto_path()
    if executable is None:
        raise errors.DeviceError("mosquitto is not installed: apt install mosquitto")
    server = _server(path)
    _log.info("broker starts clients=%d limit=open files (ulimit -Hn)", clients_allowed(raise_limit()))
    try:
        os.chdir(server)
        os.execv(executable, ["mosquitto", "-c", mosquitto.CONFIG])  # noqa: S606 - no shell is wanted
    except OSError as cause:
        raise errors.DeviceError(f"{server}: mosquitto cannot be started there: {cause.strerror}") from cause


def reload(path: Path) -> bool:
    """Sends SIGHUP to this deployment's brokers; False if one does not run here, or we may not signal it."""
    pids = [running(home) for home in layout.homes(path)]
    try:
        for pid in filter(None, pids):
            os.kill(pid, signal.SIGHUP)
    except OSError:
        return False
    return all(pids)


def running(path: Path) -> int | None:
    """The process of this deployment's broker; None if it does not run here, or we may not look."""
    server = _server(path)
    try:
        pid = int((server / mosquitto.PID).read_text())
        # The id in an old file may be of another process: only the broker has this folder as its working directory.
        return pid if Path(f"/proc/{pid}/cwd").samefile(server) else None
    except (OSError, ValueError):
        return None


def _server(path: Path) -> Path:
    server = path / layout.SERVER
    with files.disk_errors(server):
        is_there = (server / mosquitto.CONFIG).is_file()
        others = [str(home) for home in layout.homes(path) if home != path]
    if others:
        raise errors.SettingsError(f"{path} is of several brokers: run each on its machine, out of {', '.join(others)}")
    if not is_there:
        raise errors.SettingsError(
            f"{path}: no deployment (no {layout.SERVER}/{mosquitto.CONFIG}); `tflsplit broker init` makes one"
        )
    return server
