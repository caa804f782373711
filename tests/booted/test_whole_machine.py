"""The broker's unit, a reboot, an upgrade and the end of a service, on a booted machine."""

import os
import re
import shutil

import booted
import pytest

EDGE, BROKER = "tflsplit-edge.service", "tflsplit-broker.service"

pytestmark = [pytest.mark.service, pytest.mark.timeout(1200)]


def test_the_broker_reloads_comes_back_when_it_is_killed_and_is_exposed_little(edge, plant):
    machine = plant.machine
    process = machine.shown(BROKER, "MainPID")
    machine.run("systemctl", "reload", BROKER)
    edge.wait_for_more_results()
    assert machine.shown(BROKER, "MainPID") == process
    machine.run("systemctl", "kill", "--signal=KILL", BROKER)
    edge.wait_for(lambda: machine.shown(BROKER, "MainPID") not in {"0", process})
    edge.wait_for_status("connected")
    edge.wait_for_more_results()

    exposure = machine.run("systemd-analyze", "security", "--no-pager", BROKER)
    assert float(re.search(r"exposure level for \S+ ([\d.]+)", exposure)[1]) <= 2.0
    assert machine.run("stat", "--format=%U", f"/proc/{machine.shown(BROKER, 'MainPID')}").strip() == "mosquitto"


def test_after_a_reboot_everything_serves_again_and_what_was_spooled_is_delivered(edge, plant, cloud):
    cloud.kill()
    edge.wait_for_status(r"[1-9]\d* waiting")
    plant.machine.reboot()

    edge.wait_for_status(r"connected, .* 0 results, [1-9]\d* waiting")
    assert plant.machine.shown(BROKER, "ActiveState") == "active"


def test_an_upgrade_leaves_the_running_service_alone_until_it_is_restarted(edge, plant, tmp_path):
    """As the document does it; the wheel of the new version lies beside the old one."""
    machine, process = plant.machine, edge.shown("MainPID")
    wheel = booted.wheels(tmp_path, "0.1.1")
    shutil.copy(wheel, machine.root / "root/brought")
    os.unlink(next((machine.root / "root/brought").glob("tflsplit-0.1.0-*.whl")))
    plant.type_until("--upgrade")
    edge.wait_for_more_results()
    edge.configure(30)
    edge.systemctl("reload")
    edge.wait_to_say("configuration read again changed=rate_fps")
    assert edge.shown("MainPID") == process
    plant.type_until("systemctl restart")

    edge.wait_for(lambda: edge.results)
    assert edge.shown("MainPID") != process
    assert machine.run("tflsplit", "--version").split()[-1] == "0.1.1"


def test_without_root_a_service_is_neither_installed_nor_removed(edge, plant):
    machine, process = plant.machine, edge.shown("MainPID")
    edge.configure(25)
    for words in (("--config", "/etc/tflsplit/edge.toml"), ("--uninstall",)):
        said = machine.run("runuser", "-u", "nobody", "--", "tflsplit", "install-service", *words, check=False)
        assert re.fullmatch(r"tflsplit: installing or removing a service takes root: .*\n", said)
    checked = machine.run(
        "runuser", "-u", "nobody", "--", "tflsplit", "config", "check", "/etc/tflsplit/edge.toml", check=False
    )

    assert "broker.json is not for this user" in checked
    assert "Traceback" not in checked
    assert (edge.shown("ActiveState"), edge.shown("MainPID")) == ("active", process)


def test_what_uninstalls_removes_the_unit_and_leaves_the_state_and_what_was_added(edge, plant):
    machine = plant.machine
    added = f"/etc/systemd/system/{EDGE}.d/override.conf"
    machine.write(added, "[Service]\nNice=5\n")
    machine.run("tflsplit", "install-service", "--uninstall")

    assert edge.shown("LoadState") == "not-found"
    assert edge.shown("ActiveState") == "inactive"
    assert not (machine.root / f"etc/systemd/system/{EDGE}").exists()
    assert (machine.root / added.lstrip("/")).exists()
    assert machine.succeeds("test", "-f", "/var/lib/private/tflsplit-edge/spool/frames.sqlite")
    machine.run("rm", added)
