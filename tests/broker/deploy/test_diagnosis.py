"""What is found of a machine that runs a broker, with a real one."""

import datetime
import subprocess
import sys

import ports
import pytest
from waiting import wait_for

from broker.deploy import diagnosis, folder, mosquitto, process
from broker.local import server
from tflsplit import errors
from tflsplit.findings import State

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")


@pytest.fixture
def made(tmp_path):
    port = ports.free_port()
    folder.init(tmp_path / "d", folder.Wanted(("cam1",)), deployment="d", hosts=("localhost",), port=port)
    return tmp_path / "d"


def found(path):
    return {each.name: each for each in diagnosis.findings(path)}


def test_a_broker_that_runs_has_all_it_needs_and_says_how_many_it_serves(made):
    assert found(made)["listening"].state is State.WRONG
    limited = f"ulimit -n 1024; exec {sys.executable} -m tflsplit.cli.main broker run {made}"
    with subprocess.Popen(["sh", "-c", limited], stderr=subprocess.DEVNULL) as running:
        try:
            wait_for(lambda: process.running(made) is not None and found(made)["listening"].state is State.OK)
            told = found(made)
        finally:
            running.kill()

    assert {each.name for each in told.values() if each.state is not State.OK} == set()
    assert "the broker that runs serves 1,014 clients at a time; 4 have a name" in told["open files"].detail
    assert told["autosave"].detail == "every 10 s"


def test_what_is_wrong_is_named_with_what_to_do(made, monkeypatch):
    config = made / "server" / "mosquitto.conf"
    config.write_text(config.read_text().replace("autosave_on_changes false", "autosave_on_changes true"))
    (made / "server" / "server.key").chmod(0o644)
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=40)
    folder.rotate_server(made, days=30, now=past)
    (made / "server" / "server.key").chmod(0o644)
    folder.rotate(made, ["cam1"], days=20)
    monkeypatch.setattr(diagnosis.process, "clients_allowed", lambda files: 3)
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1 << 20}))
    told = found(made)

    wrong = {name for name, each in told.items() if each.state is State.WRONG}
    assert wrong == {"open files", "autosave", "broker certificate", "key", "listening", "disk"}
    assert "cam1" in told["client certificates"].detail
    assert "--ending 30" in told["client certificates"].remedy
    assert "rotate" in told["broker certificate"].remedy


def test_a_folder_that_has_grown_is_told_to_save_more_seldom(made, monkeypatch):
    monkeypatch.setattr(mosquitto, "FEW", 3)
    told = found(made)["autosave"]

    assert told.state is State.CAUTION
    assert "every 10 s" in told.detail
    assert "autosave_interval 60" in told.remedy


def test_without_a_folder_the_machine_is_looked_at_and_one_that_is_none_is_refused(tmp_path):
    assert set(found(None)) == {"mosquitto", "open files"}
    with pytest.raises(errors.SettingsError, match="no deployment"):
        found(tmp_path)
