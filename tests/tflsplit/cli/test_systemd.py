"""The unit under a real systemd, sandboxed as it is installed: started, watched, reloaded and stopped."""

import re
import sys

import own_systemd
import pytest
import secured_broker

from broker.local import server
from edge_runtime.service import credentials, permissions, unit

NAME = "tflsplit-test-edge"

# The checkout and what it runs on may lie in root's home, and the tests' files below /tmp. The rest is as installed.
SEES_MORE = """\
[Service]
DynamicUser=no
ProtectHome=no
PrivateTmp=no
WatchdogSec=5
StandardError=append:{log}
StandardOutput=append:{log}
ExecStopPost=/bin/echo result=${{SERVICE_RESULT}}
"""

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed"),
]


@pytest.fixture(scope="module")
def systemd(tmp_path_factory):
    running = own_systemd.Systemd(tmp_path_factory.mktemp("systemd"))
    try:
        running.__enter__()
    except own_systemd.UnavailableError as reason:
        pytest.skip(str(reason))
    yield running
    running.__exit__()


@pytest.fixture
def secured(tmp_path):
    with secured_broker.Secured(tmp_path / "secured") as running:
        yield running


@pytest.fixture
def service(systemd, secured, tmp_path, tiny_package, source, start):  # noqa: PLR0917 - fixtures
    """Starts the unit of an edge whose cloud answers; `log` has what it wrote, and how each of its processes ended."""
    name = f"{NAME}-{tmp_path.name[-20:].replace('_', '-')}"
    log = tmp_path / "service.log"
    clients = secured.path / "clients"
    deployment = ("--deployment", secured_broker.DEPLOYMENT)
    start("cloud", tiny_package.path, "--credentials", clients / "cloud", *deployment)
    file = tmp_path / "edge.toml"

    class Service:
        def __init__(self):
            self.log = log

        def begin(self, accelerator="cpu", rate=50):
            self.configure(accelerator, rate)
            loaded = credentials.of({"--credentials": clients / "cam1"})
            text = unit.render(
                unit.Service(
                    name=name,
                    config=file,
                    command=(sys.executable, "-m", "tflsplit.cli.main", "edge", "--config", str(file)),
                    access=permissions.needed(accelerator, str(source)),
                    credentials=loaded.credentials,
                    credential_options=loaded.options,
                    is_bounded=False,
                    stop_s=45,
                )
            )
            systemd.install(name, text, SEES_MORE.format(log=log))
            systemd.systemctl("start", name)

        def configure(self, accelerator="cpu", rate=50):
            file.write_text(
                f'[edge]\npackage = "{tiny_package.path}"\ncredentials = "/nowhere"\ncut = "op000"\n'
                f'deployment = "{secured_broker.DEPLOYMENT}"\ndevice = "cam1"\nsource = "{source}"\n'
                f'count = 1000000\nrate = {rate}\naccelerator = "{accelerator}"\nspool = "/var/lib/{name}/spool"\n'
            )

        def systemctl(self, *words):
            return systemd.systemctl(*words, name)

        def shown(self, setting):
            return systemd.shown(name, setting)

        def wait_for_status(self, words):
            systemd.wait_until(lambda: re.search(words, self.shown("StatusText")))

        def wait_until(self, is_so):
            systemd.wait_until(is_so)

    yield Service()
    systemd.systemctl("stop", name, check=False)


def test_a_service_starts_tells_its_state_reloads_and_stops(service):
    service.begin()
    assert service.shown("ActiveState") == "active"
    service.wait_for_status(r"connected, .* [1-9]\d* results, .* head on cpu")
    process = service.shown("MainPID")
    service.configure(rate=200)
    service.systemctl("reload")
    service.wait_for_status(r"\d{3}\.\d frames/s")
    assert service.shown("MainPID") == process
    assert service.shown("NRestarts") == "0"
    service.systemctl("stop")

    assert service.shown("Result") == "success"


def test_an_accelerator_that_hangs_has_the_service_started_again(service, library, tmp_path):
    switch = tmp_path / "hang"
    service.begin(f"delegate:{library}?invoke=hang&while={switch}")
    service.wait_for_status(r"[1-9]\d* results")
    process = service.shown("MainPID")
    switch.touch()
    service.wait_until(lambda: "result=watchdog" in service.log.read_text())
    switch.unlink()
    service.wait_until(lambda: service.shown("NRestarts") != "0")
    service.wait_for_status(r"[1-9]\d* results")

    assert service.shown("MainPID") != process
