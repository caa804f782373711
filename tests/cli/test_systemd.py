"""The unit under a real systemd: started, watched, reloaded and stopped.

What is sandboxed is what systemd-analyze judges; here the checkout, wherever it lies, must be seen.
"""

import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest

from edge_runtime.service import access, unit

NAME = "tflsplit-test-edge"
UNITS = pathlib.Path("/run/systemd/system")
WAIT_S = 90.0

# Tests run from a checkout in somebody's home, on files below /tmp, as root.
SEES_ALL = """\
[Service]
DynamicUser=no
ProtectHome=no
ProtectSystem=no
PrivateTmp=no
PrivateUsers=no
WatchdogSec=5
WorkingDirectory=/
"""

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(
        not UNITS.is_dir() or os.geteuid() != 0,
        reason="systemd is not PID 1 here, or this is not root: no real unit can be started",
    ),
]


def systemctl(*words, check=True):
    return subprocess.run(["systemctl", *words], check=check, capture_output=True, text=True).stdout


def shown(name):
    return systemctl("show", NAME, f"--property={name}", "--value").strip()


def wait_until(is_so):
    give_up_s = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < give_up_s, systemctl("status", NAME, check=False)
        pause.wait(0.2)


@pytest.fixture
def service(tmp_path, tiny_package, source, brokers, start):
    """Starts the unit of an edge whose cloud answers, with settings beside the usual ones."""
    url = brokers.start()
    start("cloud", tiny_package.path, "--broker", url, "--deployment", "d")
    file = tmp_path / "edge.toml"

    def begin(accelerator="cpu"):
        file.write_text(
            f'[edge]\npackage = "{tiny_package.path}"\nbroker = "{url}"\ndeployment = "d"\ndevice = "n"\n'
            f'source = "{source}"\ncount = 1000000\nrate = 50\ncut = "op000"\naccelerator = "{accelerator}"\n'
        )
        text = unit.render(
            unit.Service(
                name=NAME,
                config=file,
                command=(sys.executable, "-m", "tflsplit.cli.main", "edge", "--config", str(file)),
                access=access.needed(accelerator, str(source)),
                credentials=(),
                credential_options={},
                is_bounded=False,
                stop_s=45,
            )
        )
        (UNITS / f"{NAME}.service").write_text(text)
        (UNITS / f"{NAME}.service.d").mkdir(exist_ok=True)
        (UNITS / f"{NAME}.service.d/sees.conf").write_text(SEES_ALL)
        systemctl("daemon-reload")
        systemctl("start", NAME)

    yield begin
    systemctl("stop", NAME, check=False)
    (UNITS / f"{NAME}.service.d/sees.conf").unlink(missing_ok=True)
    (UNITS / f"{NAME}.service.d").rmdir()
    (UNITS / f"{NAME}.service").unlink(missing_ok=True)
    systemctl("daemon-reload")
    systemctl("reset-failed", NAME, check=False)


def test_a_service_starts_tells_its_state_reloads_and_stops_within_5_s(service):
    service()
    assert shown("ActiveState") == "active"
    wait_until(lambda: re.search(r"[1-9]\d* results", shown("StatusText")))
    process = shown("MainPID")
    systemctl("reload", NAME)
    wait_until(lambda: shown("ActiveState") == "active")
    assert shown("MainPID") == process
    began_s = time.monotonic()
    systemctl("stop", NAME)

    assert time.monotonic() - began_s < 5.0
    assert shown("Result") == "success"


def test_an_accelerator_that_hangs_has_the_service_started_again(service, library, tmp_path):
    switch = tmp_path / "hang"
    service(f"delegate:{library}?invoke=hang&while={switch}")
    wait_until(lambda: re.search(r"[1-9]\d* results", shown("StatusText")))
    process = shown("MainPID")
    switch.touch()
    wait_until(lambda: shown("Result") == "watchdog" or int(shown("NRestarts")) > 0)
    switch.unlink()
    wait_until(lambda: shown("ActiveState") == "active" and re.search(r"[1-9]\d* results", shown("StatusText")))

    assert int(shown("NRestarts")) >= 1
    assert shown("MainPID") != process
