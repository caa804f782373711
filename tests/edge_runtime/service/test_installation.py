"""A service put in place and taken away, in a machine's file system that stands in a folder."""

import dataclasses
import os
import pathlib

import pytest

from edge_runtime.service import credentials, installation, sandbox
from tflsplit import errors

CONFIG = pathlib.Path("/etc/tflsplit/edge.toml")
PROGRAM = pathlib.Path("/opt/tflsplit/venv/bin/tflsplit")


@pytest.fixture
def root(tmp_path):
    """A machine with an installation, a configuration, a package, and credentials that only root may read."""
    tmp_path.chmod(0o755)
    for folder in ("etc/tflsplit/credentials", "opt/tflsplit/venv/bin", "srv/model.tflsplit"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/group").write_text("root:x:0:\nplugdev:x:46:\nvideo:x:44:\n")
    (tmp_path / "etc/tflsplit/edge.toml").touch()
    (tmp_path / "srv/model.tflsplit/manifest.json").touch()
    interpreter = tmp_path / "opt/tflsplit/venv/bin/python"
    interpreter.touch()
    program = tmp_path / "opt/tflsplit/venv/bin/tflsplit"
    program.write_text("#!/opt/tflsplit/venv/bin/python\n")
    for file in (interpreter, program):
        file.chmod(0o755)
    for name in ("broker.json", "client.key"):
        (tmp_path / "etc/tflsplit/credentials" / name).touch(0o600)
    return tmp_path


def wanted(root, **changes):
    run = {
        "accelerator": "coral:usb",
        "source": "camera:0",
        "secrets": {"--credentials": pathlib.Path("/etc/tflsplit/credentials")},
    }
    of_run = {field.name for field in dataclasses.fields(installation.Run)}
    run |= {name: changes.pop(name) for name in of_run & set(changes)}
    fields = {
        "name": "tflsplit-edge",
        "config": CONFIG,
        "executable": PROGRAM,
        "runs": (installation.Run(**run),),
        "reads": (CONFIG, pathlib.Path("/srv/model.tflsplit")),
        "writes": (pathlib.Path("/var/lib/tflsplit-edge/spool"),),
        "root": root,
    }
    return installation.Wanted(**fields | changes)


def files(root):
    return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}


def problems(root, **changes):
    with pytest.raises(errors.ConfigurationError) as refused:
        installation.plan(wanted(root, **changes))
    return refused.value.problems


def test_a_service_is_installed_once_and_removed_without_a_trace(root):
    before = files(root)
    changes = installation.pending(installation.plan(wanted(root)))
    installation.apply(changes)

    assert files(root) - before == {
        "etc/systemd/system/tflsplit-edge.service",
        "etc/udev/rules.d/99-tflsplit-edge.rules",
    }
    assert installation.pending(installation.plan(wanted(root))) == ()
    installation.apply(installation.pending(installation.removal("tflsplit-edge", root)))
    assert files(root) == before
    assert installation.pending(installation.removal("tflsplit-edge", root)) == ()


def test_the_unit_runs_this_program_with_its_credentials(root):
    installation.apply(installation.plan(wanted(root)))
    unit = (root / "etc/systemd/system/tflsplit-edge.service").read_text().splitlines()

    assert f"ExecStart={PROGRAM} edge --config {CONFIG} --credentials %d" in unit
    assert "LoadCredential=broker.json:/etc/tflsplit/credentials/broker.json" in unit
    assert "LoadCredential=client.key:/etc/tflsplit/credentials/client.key" in unit


def test_a_changed_configuration_changes_what_is_there(root):
    installation.apply(installation.plan(wanted(root)))
    changes = installation.pending(installation.plan(wanted(root, accelerator="cpu")))
    installation.apply(changes)

    assert [(change.path.name, change.text is None) for change in changes] == [
        ("tflsplit-edge.service", False),
        ("99-tflsplit-edge.rules", True),
    ]
    assert not (root / "etc/udev/rules.d/99-tflsplit-edge.rules").exists()


@pytest.mark.parametrize("act", [installation.plan, lambda found: installation.removal(found.name, found.root)])
def test_a_unit_of_somebody_else_is_neither_replaced_nor_removed(root, act):
    there = root / "etc/systemd/system/tflsplit-edge.service"
    there.parent.mkdir(parents=True)
    there.write_text("[Service]\nExecStart=/bin/true\n")

    with pytest.raises(errors.SettingsError, match="not written by `tflsplit install-service`"):
        installation.pending(act(wanted(root)))


def test_what_somebody_added_to_the_unit_stays(root):
    installation.apply(installation.plan(wanted(root)))
    added = root / "etc/systemd/system/tflsplit-edge.service.d/override.conf"
    added.parent.mkdir()
    added.write_text("[Service]\nNice=5\n")
    installation.apply(installation.pending(installation.removal("tflsplit-edge", root)))

    assert added.exists()


def test_a_write_that_fails_leaves_what_was_there(root, monkeypatch):
    installation.apply(installation.plan(wanted(root)))
    before = {name: (root / name).read_text() for name in files(root)}

    def fail(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(errors.DeviceError, match="No space left"):
        installation.apply(installation.plan(wanted(root, accelerator="cpu")))
    assert {name: (root / name).read_text() for name in files(root)} == before


def test_all_that_would_not_run_is_named_at_once(root):
    (root / "srv/model.tflsplit/manifest.json").chmod(0o600)
    found = problems(
        root,
        accelerator="coral",
        source="/srv/pictures",
        writes=(pathlib.Path("/srv/spool"),),
        secrets={"--password-file": pathlib.Path("/etc/tflsplit/password")},
    )

    assert len(found) == 4
    assert "manifest.json is not readable for the service" in found[0]
    assert found[1] == "/srv/spool: the service may write below /var/lib/tflsplit-edge only; give a path there"
    assert "source /srv/pictures ends" in found[2]
    assert "/etc/tflsplit/password (--password-file) is not there" in found[3]


def test_a_source_that_ends_is_taken_with_a_count(root):
    unit, _rules = installation.plan(wanted(root, source="/srv/pictures", is_bounded=True))

    assert "Restart=on-failure\n" in unit.text


@pytest.mark.parametrize("place", ["/home", "/root", "/tmp", "/var/tmp", "/run/user"])
def test_what_the_service_does_not_see_is_refused(root, place):
    program = pathlib.Path(place) / "1000/venv/bin/tflsplit"

    assert problems(root, executable=program) == (
        f"{program} is below {place}, which the service does not see: move it, to /opt or /srv for example",
    )


def test_the_interpreter_of_the_program_has_to_be_seen_too(root):
    (root / "opt/tflsplit/venv/bin/tflsplit").write_text("#!/home/pi/venv/bin/python\n")

    assert "/home/pi/venv/bin/python is below /home" in problems(root)[0]


def test_a_link_to_a_hidden_interpreter_is_followed(tmp_path):
    """As a virtual environment in /opt has it that was made by somebody's own Python; pytest's folder is below /tmp."""
    hidden = tmp_path / "python"
    hidden.touch()
    link = pathlib.Path("/var/lib") / f"tflsplit-test-{os.getpid()}"
    try:
        link.symlink_to(hidden)
    except OSError as refused:
        pytest.skip(f"may not write there: {refused}")
    try:
        assert "which the service does not see" in sandbox.unreadable(link)
    finally:
        link.unlink()


def test_a_folder_that_lets_nobody_in_is_named(root):
    (root / "srv").chmod(0o700)

    assert "lets nobody else in" in problems(root)[0]


def test_a_program_that_may_not_be_executed_is_refused(root):
    (root / "opt/tflsplit/venv/bin/tflsplit").chmod(0o644)

    assert problems(root) == (f"{PROGRAM} is not executable for the service: chmod o+x {PROGRAM}",)


def test_an_encrypted_credential_takes_the_place_of_its_file(root):
    folder = root / "etc/tflsplit/credentials"
    (folder / "client.key.cred").touch(0o600)
    found = credentials.of({"--credentials": pathlib.Path("/etc/tflsplit/credentials")}, root)

    assert [(one.name, one.file.name, one.is_encrypted) for one in found.credentials] == [
        ("broker.json", "broker.json", False),
        ("client.key", "client.key.cred", True),
    ]
    (folder / "client.key").unlink()
    again = credentials.of({"--key": pathlib.Path("/etc/tflsplit/credentials/client.key")}, root)
    assert again.options == {"--key": "key"}
    assert again.credentials[0].is_encrypted
    assert credentials.has_encrypted(folder)


@pytest.mark.parametrize("name", ["", "../x", "a b", "Edge", "x.service", "-x"])
def test_names_that_are_none_are_refused(root, name):
    with pytest.raises(errors.SettingsError, match="service name"):
        wanted(root, name=name)


def test_a_failed_call_of_systemd_is_an_error_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    fake = tmp_path / "systemctl"
    fake.write_text("#!/bin/sh\necho bus is gone >&2; exit 1\n")
    fake.chmod(0o755)

    with pytest.raises(errors.DeviceError, match=r"systemctl daemon-reload` failed: bus is gone"):
        installation.forget()


def test_systemd_is_told_in_this_order(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("systemctl", "udevadm"):
        fake = tmp_path / name
        fake.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/called\n')
        fake.chmod(0o755)
    installation.enable("tflsplit-edge", has_new_rules=True)
    installation.disable("tflsplit-edge")

    assert (tmp_path / "called").read_text().splitlines() == [
        "udevadm control --reload-rules",
        "udevadm trigger",
        "systemctl daemon-reload",
        "systemctl enable tflsplit-edge.service",
        "systemctl disable --now tflsplit-edge.service",
    ]


@pytest.mark.parametrize("source", ["watch:/srv/pictures", "rtsp://u:p@cam/live", "picamera:0"])
def test_a_source_without_end_is_one_for_a_service(root, source):
    (root / "etc/group").write_text("video:x:44:\n")
    assert installation.plan(wanted(root, source=source, accelerator="cpu"))


@pytest.mark.parametrize("source", ["video:/srv/walk.mp4", "stdin:", "/srv/pictures"])
def test_a_source_that_ends_is_none_for_a_service_unless_it_is_bounded(root, source):
    assert any("ends, and the service" in each for each in problems(root, source=source))


CLIENTS = pathlib.Path("/etc/tflsplit/clients")


@pytest.fixture
def streams(root):
    """What each of two streams runs, as `wanted` takes them."""
    for name in ("door", "yard"):
        held = root / "etc/tflsplit/clients" / name
        held.mkdir(parents=True)
        for file in ("broker.json", "client.key"):
            (held / file).write_text(name)
    door = installation.Run("coral:usb", "camera:0", {"--credentials": CLIENTS / "door"})
    return door, installation.Run("cpu", "watch:/srv/yard", {"--credentials": CLIENTS / "yard"}, is_bounded=True)


def test_the_unit_of_streams_has_what_each_of_them_needs(root, streams):
    (text, rules) = (change.text for change in installation.plan(wanted(root, runs=streams, has_streams=True)))
    lines = text.splitlines()

    assert f"ExecStart={PROGRAM} edge --config {CONFIG}" in lines
    assert {line for line in lines if line.startswith("LoadCredential")} == {
        f"LoadCredential=etc-tflsplit-clients-{name}-{file}:{CLIENTS / name / file}"
        for name in ("door", "yard")
        for file in ("broker.json", "client.key")
    }
    assert {"DeviceAllow=char-usb_device rw", "DeviceAllow=/dev/video0 rw", "Restart=always"} <= set(lines)
    assert "1a6e" in rules


def test_a_stream_finds_what_systemd_shows_of_its_secrets(root, streams, tmp_path, monkeypatch):
    secrets = [CLIENTS / "door", CLIENTS / "yard/client.key"]
    loaded = credentials.of_streams(secrets, root)
    shown, scratch = tmp_path / "shown", tmp_path / "scratch"
    shown.mkdir()
    scratch.mkdir()
    for one in loaded.credentials:  # as systemd does it
        (shown / one.name).write_bytes((root / one.file.relative_to("/")).read_bytes())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(shown))
    found = [credentials.shown(place, scratch) for place in secrets]

    assert {file.name: file.read_text() for file in found[0].iterdir()} == {"broker.json": "door", "client.key": "door"}
    assert found[1].read_text() == "yard"
    assert credentials.shown(CLIENTS / "door", scratch) == found[0]
    assert credentials.shown(CLIENTS / "hall", scratch) == CLIENTS / "hall"


def test_secrets_that_systemd_would_show_as_one_are_refused(root):
    for folder in ("etc/a-b", "etc/a"):
        (root / folder).mkdir()
    for file in ("etc/a-b/c", "etc/a/b-c"):
        (root / file).touch()
    loaded = credentials.of_streams([pathlib.Path("/etc/a-b/c"), pathlib.Path("/etc/a/b-c")], root)

    assert all("would show it as 'etc-a-b-c'" in problem for problem in loaded.problems)
    assert len(loaded.problems) == 2


def test_each_stream_whose_source_ends_is_refused(root, streams):
    ends = installation.Run("cpu", "/srv/model.tflsplit", {})
    (problem,) = problems(root, runs=(*streams, ends), has_streams=True)

    assert problem.startswith("source /srv/model.tflsplit ends")
