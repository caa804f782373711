"""Mosquitto as the process of a deployment: becoming it, and telling it to read its files again."""

import os
import signal
from pathlib import Path
from typing import NoReturn

from broker.deploy import files, layout, mosquitto
from broker.local import server as local_server
from tflsplit import errors


def become(path: Path) -> NoReturn:
    """This process goes on as Mosquitto, so that signals, exit status and log are its own."""
    executable = local_server.mosquitto_path()
    if executable is None:
        raise errors.DeviceError("mosquitto is not installed: apt install mosquitto")
    server = _server(path)
    try:
        os.chdir(server)
        os.execv(executable, ["mosquitto", "-c", mosquitto.CONFIG])  # noqa: S606 - no shell is wanted
    except OSError as cause:
        raise errors.DeviceError(f"{server}: mosquitto cannot be started there: {cause.strerror}") from cause


def reload(path: Path) -> bool:
    """SIGHUP, if this deployment's broker runs here and is ours to signal; whoever runs it elsewhere must send it."""
    server = _server(path)
    try:
        pid = int((server / mosquitto.PID).read_text())
        # A stale file may name a stranger by now: only a process that works in this very folder is the broker.
        if not Path(f"/proc/{pid}/cwd").samefile(server):
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


def _server(path: Path) -> Path:
    server = path / layout.SERVER
    with files.disk_errors(server):
        is_there = (server / mosquitto.CONFIG).is_file()
    if not is_there:
        raise errors.SettingsError(
            f"{path}: no deployment (no {layout.SERVER}/{mosquitto.CONFIG}); `tflsplit broker init` makes one"
        )
    return server
