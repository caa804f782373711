"""Several streams as one service, on a booted machine: each is shown its own credentials, and begins again alone."""

import re

import pytest

NAME = "tflsplit-streams"
UNIT = f"{NAME}.service"
FILE = f"/etc/tflsplit/{NAME}.toml"

CONFIG = """\
[edge]
package = "/srv/tflsplit/edge.tflsplit"
source = "/srv/tflsplit/inputs.npy"
count = 100000000
rate = 20

[[stream]]
credentials = "/etc/tflsplit/door"
cut = "op000"

[[stream]]
credentials = "/etc/tflsplit/yard"
cut = "{cut}"
spool = "/var/lib/tflsplit-streams/yard"
"""

pytestmark = [pytest.mark.service, pytest.mark.timeout(1200)]


@pytest.fixture
def streams(edge, plant):
    """The service of two streams beside the edge's; gives its last status line."""
    machine = plant.machine
    for name in ("door", "yard"):
        machine.run("tflsplit", "broker", "add-device", "/etc/tflsplit/broker", name)
        machine.run("cp", "-r", f"/etc/tflsplit/broker/clients/{name}", "/etc/tflsplit/")
        machine.run("chmod", "-R", "go=", f"/etc/tflsplit/{name}")
    machine.run("systemctl", "reload", "tflsplit-broker.service")
    machine.write(FILE.lstrip("/"), CONFIG.format(cut="op000"))
    machine.run("tflsplit", "install-service", "--config", FILE, "--name", NAME)
    machine.run("systemctl", "restart", UNIT, check=False)
    assert machine.shown(UNIT, "ActiveState") == "active", machine.journal(UNIT)
    yield lambda: machine.shown(UNIT, "StatusText")
    machine.run("tflsplit", "install-service", "--uninstall", "--name", NAME)


def test_streams_are_one_service_and_one_of_them_begins_again_alone(streams, edge, plant):
    machine = plant.machine
    edge.wait_for(
        lambda: re.search(r"door: connected, .* [1-9]\d* results.*; yard: connected, .* [1-9]\d* ", streams())
    )
    exposure = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    shown = machine.run("ls", f"/run/credentials/{UNIT}").split()
    process = machine.shown(UNIT, "MainPID")

    assert float(re.search(r"exposure level for \S+ ([\d.]+)", exposure)[1]) <= 2.0
    assert {f"etc-tflsplit-{name}-client.key" for name in ("door", "yard")} <= set(shown)
    machine.write(FILE.lstrip("/"), CONFIG.format(cut="op001"))
    machine.run("systemctl", "reload", UNIT)
    edge.wait_for(lambda: "edge runs cut=op001" in machine.journal(UNIT))
    edge.wait_for(lambda: re.search(r"yard: connected, .* [1-9]\d* results", streams()))
    assert machine.shown(UNIT, "MainPID") == process
    assert "stream begins again device=yard changed=cut" in machine.journal(UNIT)
    machine.run("systemctl", "stop", UNIT)
    assert (machine.shown(UNIT, "Result"), machine.shown(UNIT, "ExecMainStatus")) == ("success", "0")
