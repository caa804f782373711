"""`tflsplit config check` and `tflsplit install-service` as they are typed, on a machine that stands in a folder."""

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tflsplit import errors
from tflsplit.cli import main

pytestmark = pytest.mark.chaos

CONFIG = """\
[edge]
package = "/srv/tiny.tflsplit"
broker = "mqtts://gateway"
password-file = "credentials/password"
deployment = "plant1"
device = "cam1"
source = "/srv/inputs.npy"
count = 100
spool = "/var/lib/tflsplit-edge/spool"
accelerator = "cpu"
"""


@pytest.fixture
def root(tmp_path, tiny_package):
    root = tmp_path / "root"
    for folder in ("etc/tflsplit/credentials", "opt/tflsplit/bin", "srv"):
        (root / folder).mkdir(parents=True)
    shutil.copytree(tiny_package.path, root / "srv/tiny.tflsplit")
    np.save(root / "srv/inputs.npy", np.zeros((3, 4), np.int8))
    (root / "etc/tflsplit/edge.toml").write_text(CONFIG.replace("mqtts://", "mqtts://cam1@"))
    (root / "etc/tflsplit/credentials/password").write_text("hunter2\n")
    (root / "etc/tflsplit/credentials/password").chmod(0o600)
    (root / "etc/group").write_text("root:x:0:\nplugdev:x:46:\nvideo:x:44:\n")
    program = root / "opt/tflsplit/bin/tflsplit"
    program.write_bytes(b"\x7fELF")
    for path in (root, *root.rglob("*")):
        if "credentials" not in str(path):
            path.chmod(0o755)
    return root


@pytest.fixture
def install(run, root):
    """Installs below the machine's root."""
    return lambda *words: run(
        "install-service", "--root", root, "--executable", "/opt/tflsplit/bin/tflsplit",
        *(words if "--uninstall" in words else ("--config", "/etc/tflsplit/edge.toml", *words)),
    )  # fmt: skip


def files(root):
    return {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_installing_twice_changes_nothing_and_uninstalling_leaves_no_trace(install, root):
    before = files(root)
    dry = install("--dry-run")
    assert files(root) == before
    first = install()
    unit = root / "etc/systemd/system/tflsplit-edge.service"

    assert set(files(root)) - set(before) == {unit}
    assert unit.read_text() in dry.out
    assert f"wrote {unit}" in first.out
    assert "systemctl enable --now tflsplit-edge" in first.out
    assert install().out == "nothing changed\n"
    gone = install("--uninstall")
    assert gone.out == f"removed {unit}\n"
    assert files(root) == before
    assert install("--uninstall").out == "nothing changed\n"


def test_the_unit_loads_the_password_and_stops_in_time(install, root):
    install()
    unit = (root / "etc/systemd/system/tflsplit-edge.service").read_text().splitlines()

    assert "LoadCredential=password-file:/etc/tflsplit/credentials/password" in unit
    assert (
        "ExecStart=/opt/tflsplit/bin/tflsplit edge --config /etc/tflsplit/edge.toml --password-file %d/password-file"
        in unit
    )
    assert "TimeoutStopSec=45" in unit
    assert "Restart=on-failure" in unit
    assert "hunter2" not in "\n".join(unit)


def test_an_edge_tpu_gets_its_rule_and_loses_it_again(install, root):
    config = root / "etc/tflsplit/edge.toml"
    config.write_text(config.read_text().replace('"cpu"', '"coral:usb"'))
    install()
    rule = root / "etc/udev/rules.d/99-tflsplit-edge.rules"
    lines = rule.read_text()
    assert "1a6e" in lines
    assert "18d1" in lines
    config.write_text(config.read_text().replace('"coral:usb"', '"cpu"'))

    assert f"removed {rule}" in install().out


def test_a_wrong_configuration_is_refused_whole_and_nothing_is_written(install, root):
    config = root / "etc/tflsplit/edge.toml"
    config.write_text(CONFIG.replace("count = 100", 'rate = "fast"\nwindwo = 3').replace("/srv/tiny", "/srv/absent"))
    before = files(root)
    done = install()
    said = done.err.splitlines()

    assert done.code == 1
    assert files(root) == before
    assert f"tflsplit: {config}:8: rate: 'fast', expected a number" in said
    assert f"tflsplit: {config}:9: there is no key 'windwo'; did you mean 'window'?" in said
    assert any("absent.tflsplit" in line for line in said)


def test_what_would_not_run_as_a_service_is_refused(install, root):
    config = root / "etc/tflsplit/edge.toml"
    config.write_text(
        config.read_text()
        .replace("count = 100", "")
        .replace("/var/lib/tflsplit-edge", "/srv")
        .replace("cam1@", "cam1@")
    )
    (root / "srv/tiny.tflsplit/manifest.json").chmod(0o600)
    said = install().err.splitlines()

    assert len(said) == 3
    assert "manifest.json is not readable for the service" in said[0]
    assert "/srv/spool: the service may write below /var/lib/tflsplit-edge only" in said[1]
    assert "source /srv/inputs.npy ends" in said[2]


@pytest.mark.parametrize("text", [None, "[edge]\nrate =\n"], ids=["absent", "no TOML"])
def test_of_a_file_that_cannot_be_read_nothing_else_is_said(run, tmp_path, text):
    path = tmp_path / "edge.toml"
    if text is not None:
        path.write_text(text)
    done = run("config", "check", path)

    assert (done.code, done.out) == (1, "")
    assert [line.startswith(f"tflsplit: {path}: ") for line in done.err.splitlines()] == [True]


STREAMS = """\

[[stream]]
device = "door"
password-file = "credentials/password"

[[stream]]
device = "yard"
spool = "/var/lib/tflsplit-edge/yard"
password-file = "credentials/yard"
"""


@pytest.fixture
def streams(root):
    """The configuration of two streams."""
    config = root / "etc/tflsplit/edge.toml"
    given = config.read_text().replace('device = "cam1"\n', "")
    config.write_text(given.replace('password-file = "credentials/password"\n', "") + STREAMS)
    (root / "etc/tflsplit/credentials/yard").write_text("hunter3\n")
    return config


def test_streams_are_one_service_that_is_shown_the_secrets_of_each(install, root, streams):
    done = install()
    unit = (root / "etc/systemd/system/tflsplit-edge.service").read_text().splitlines()

    assert done.code == 0, done.err
    assert "ExecStart=/opt/tflsplit/bin/tflsplit edge --config /etc/tflsplit/edge.toml" in unit
    for name in ("password", "yard"):
        secret = f"/etc/tflsplit/credentials/{name}"
        assert f"LoadCredential=etc-tflsplit-credentials-{name}:{secret}" in unit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"yard"\nspool', '"door"\nspool'), "two streams are of device 'door': each needs a name of its own"),
        (
            ("edge/yard", "edge/spool"),
            "spool: two streams write to /var/lib/tflsplit-edge/spool: give each a place of its own",
        ),
        (('"cpu"', '"auto"'), "accelerator auto: several streams share one accelerator, so name it"),
        (('spool = "/var/lib/tflsplit-edge/yard"', "hedge = 1.5"), "--hedge"),
    ],
)
def test_streams_that_exclude_each_other_or_themselves_are_refused_whole(install, root, streams, change, said):
    streams.write_text(streams.read_text().replace(*change))
    before = files(root)
    done = install()

    assert (done.code, files(root)) == (1, before)
    assert said in done.err


def test_a_missing_configuration_is_wrong_usage(run):
    assert run("install-service").code == 2


@pytest.mark.parametrize("words", [("--config", "/etc/tflsplit/edge.toml"), ("--uninstall",)], ids=["in", "out"])
def test_without_root_it_is_refused_before_anything_is_looked_at(monkeypatch, words):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(main.cli, ["install-service", *words])

    assert isinstance(done.exception, errors.DeviceError)
    assert str(done.exception).startswith("installing or removing a service takes root: ")
    assert done.output == ""


def test_a_file_that_cannot_be_written_is_not_said_to_be(monkeypatch, root):
    def fail(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    words = ("--root", root, "--config", "/etc/tflsplit/edge.toml", "--executable", "/opt/tflsplit/bin/tflsplit")
    done = CliRunner().invoke(main.cli, ["install-service", *(str(word) for word in words)])

    assert isinstance(done.exception, errors.DeviceError)
    assert "No space left on device; this file is as it was" in str(done.exception)
    assert done.output == ""


def test_what_lies_below_a_temporary_folder_is_refused(run, config):
    config.write_text(config.read_text() + "count = 3\n")
    done = run("install-service", "--config", config, "--dry-run", "--executable", "/bin/true")

    assert done.code == 1
    assert f"{config} is below /tmp, which the service does not see: move it" in done.err


def check(run, file, **options):
    return run("config", "check", file, "--json", **options)


@pytest.fixture
def config(tmp_path, tiny_package, source):
    (tmp_path / "edge.toml").write_text(
        f'[edge]\npackage = "{tiny_package.path}"\nbroker = "mqtt://gateway"\ndeployment = "d"\n'
        f'device = "n"\nsource = "{source}"\n'
    )
    return tmp_path / "edge.toml"


def test_check_tells_where_each_value_comes_from(run, config):
    folder = config.with_suffix(".d")
    folder.mkdir()
    (folder / "rate.toml").write_text("[edge]\nrate = 5\n")
    done = check(run, config, env={**os.environ, "TFLSPLIT_EDGE_DEVICE": "cam7"})
    told = done.json()

    assert told["problems"] == []
    assert told["settings"]["device"] == {"value": "cam7", "from": "environment TFLSPLIT_EDGE_DEVICE"}
    assert told["settings"]["rate"] == {"value": 5, "from": f"{folder}/rate.toml:2"}
    assert told["settings"]["deployment"] == {"value": "d", "from": f"{config}:4"}
    assert told["settings"]["threads"] == {"value": 1, "from": "default"}
    shown = run("config", "check", config)
    assert shown.code == 0
    assert "gateway" in shown.out


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ('broker = "mqtt://me:hunter2@gateway"', "a password in the address would be seen"),
        ('password = "hunter2"', "a secret does not belong here"),
        ('device = "a/b"', "device"),
        ('cut = "op999"', "op999"),
        ('source = "/nowhere"', "/nowhere"),
        ('accelerator = "tpu"', "accelerator 'tpu'"),
        ('accelerator = "delegate:lib/x.so"', "give its whole path"),
        ('credentials = "/nowhere"', "credentials /nowhere"),
        ('plan = "/nowhere.json"', "/nowhere.json"),
        ('deployment = ""', "deployment"),
    ],
)
def test_check_names_what_is_wrong_beyond_a_type(run, config, change, problem):
    (config.with_suffix(".d")).mkdir()
    (config.with_suffix(".d") / "change.toml").write_text(f"[edge]\n{change}\n")
    done = check(run, config)
    told = json.loads(done.out)

    assert done.code == 1
    assert any(problem in found for found in told["problems"]), told
    assert len(done.err.splitlines()) == len(told["problems"])
    assert "hunter2" not in done.out + done.err


@pytest.mark.parametrize(
    ("module", "change", "library"),
    [
        ("cv2", 'source = "camera:0"', "opencv-python-headless"),
        ("prometheus_client", 'metrics = "9109"', "prometheus-client"),
        ("cryptography", 'models = "/m"\nupdate-key = "/k.pub"', "cryptography"),
    ],
)
def test_check_and_install_name_a_library_that_the_settings_need(tmp_path, config, module, change, library):
    """Else the service would start, fail and be started again until systemd gives it up."""
    (config.with_suffix(".d")).mkdir()
    (config.with_suffix(".d") / "change.toml").write_text(f"[edge]\n{change}\n")
    program = (
        "import importlib.util, sys; module = sys.argv.pop(1); find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == module else find(name, *rest)\n"
        "from tflsplit.cli import main; main.main()"
    )
    for words in (("config", "check", config), ("install-service", "--config", config, "--dry-run")):
        line = [sys.executable, "-c", program, module, *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)

        assert done.returncode == 1
        assert f"needs {library}, which is not installed: pip install" in done.stderr


NAMES = {"schema": 1, "url": "mqtts://broker.plant1", "deployment": "plant1", "name": "cam7", "role": "device"}


@pytest.fixture
def bundled(tmp_path, tiny_package):
    """A configuration without names beside a folder of credentials that has them."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "broker.json").write_text(json.dumps(NAMES))
    (folder / "password").write_text("hunter2\n")
    (folder / "password").chmod(0o600)
    np.save(tmp_path / "inputs.npy", np.zeros((1, 4), np.int8))
    file = tmp_path / "edge.toml"
    file.write_text(f'[edge]\npackage = "{tiny_package.path}"\nsource = "inputs.npy"\ncredentials = "credentials"\n')
    return file


def test_names_that_are_not_set_are_those_of_the_credentials(run, bundled):
    (bundled.parent / "credentials" / "broker.json").write_text(json.dumps(NAMES | {"url": "mqtts://u@broker.plant1"}))
    settings = check(run, bundled).json()["settings"]

    place = str(bundled.parent / "credentials")
    assert [settings[key] for key in ("deployment", "device")] == [
        {"value": "plant1", "from": place},
        {"value": "cam7", "from": place},
    ]


def test_a_name_that_is_set_is_held_against_the_credentials(run, bundled):
    bundled.write_text(f'{bundled.read_text()}device = "cam8"\n')

    (problem,) = json.loads(check(run, bundled).out)["problems"]
    assert "are those of 'cam7' in deployment 'plant1', not of 'cam8'" in problem


def test_credentials_that_only_the_service_can_read_may_hold_the_names(run, bundled):
    (bundled.parent / "credentials" / "broker.json").unlink()
    (bundled.parent / "credentials" / "broker.json.cred").write_text("encrypted")
    found = json.loads(check(run, bundled).out)

    assert not [problem for problem in found["problems"] if "is not set" in problem]


def test_every_setting_that_is_missing_is_named(run, tmp_path):
    (tmp_path / "edge.toml").write_text("[edge]\n")
    said = run("config", "check", tmp_path / "edge.toml").err

    for key in ("deployment", "device", "source", "package", "broker"):
        assert f"{key} is not set" in said
    assert "Missing" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--executable", "bin/none"), "the service's program /bin/none cannot be found below"),
        (("--allow-device", "dev/none"), "device /dev/none: No such file"),
    ],
)
def test_what_is_not_below_the_root_is_said_whether_its_path_is_whole_or_not(install, words, said):
    assert said in install("--dry-run", *words).refusal()
