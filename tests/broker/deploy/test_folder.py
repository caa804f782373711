"""The folder of a deployment: what is in it, who may read it, what cannot get into it."""

import base64
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner
from cryptography import x509

from broker.deploy import access, authority, files, folder, ledger, mosquitto, process, supervision
from broker.deploy.ledger import Identity, Ledger, Proof
from broker.local import server as local_server
from broker.transport import credentials
from broker.transport.credentials import Role
from tflsplit import errors
from tflsplit.cli.commands.broker import group
from tflsplit.cli.options import connection

NOW = datetime.datetime.now(datetime.timezone.utc)
BOOK = Ledger(
    "plant1",
    ("broker.example", "127.0.0.1"),
    8883,
    Proof.CERTIFICATE,
    (Identity("cam1", Role.DEVICE, (1, 255)), Identity("cloud", Role.CLOUD), Identity("reader", Role.CONSUMER)),
    revoked=(16,),
    list_number=3,
    list_issued_s=1_700_000_000,
)

# Each would mean something else to a path, a topic, an access rule, a password file or a certificate.
BAD_NAMES = ["", ".", "..", ".hidden", "-x", "_x", "a/b", "../x", "+", "#", "a+", "%u", "%c", "$SYS", "a b", "a:b"]
BAD_NAMES += ["a\n", "a\nuser root", "a\0", "ä", "x" * 65, "a,CN=b"]


def made(path, wanted=None, **options):
    given = {"deployment": "plant1", "hosts": ("broker.example",)} | options
    return folder.init(path, wanted or folder.Wanted(("cam1", "cam2")), **given)


@pytest.fixture
def deployment(tmp_path):
    if os.geteuid() == 0 and local_server.mosquitto_path() is None:
        pytest.skip("root needs the user that Mosquitto is installed with")
    made(tmp_path / "deployment")
    return tmp_path / "deployment"


def everything(path):
    return {str(place.relative_to(path)): place.read_bytes() for place in path.rglob("*") if place.is_file()}


def serial(path, name):
    return folder.read(path).named([name])[0].serials[-1]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
@pytest.mark.parametrize("role", ["devices", "clouds", "consumers"])
def test_name_that_could_mean_something_else_is_refused(tmp_path, name, role):
    wanted = dataclasses.replace(folder.Wanted(("good",)), **{role: ("fine", name)}) if role else None

    with pytest.raises(errors.SettingsError, match="name"):
        folder.init(tmp_path / "x", wanted, deployment="d", hosts=("h",))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", [name for name in BAD_NAMES if name not in (".", "..", ".hidden", "-x", "_x")], ids=repr
)
def test_deployment_of_such_a_name_is_refused_too(tmp_path, name):
    with pytest.raises(errors.SettingsError, match="deployment name"):
        made(tmp_path / "x", deployment=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["", "a b", "*.example", "user@h", "h:1", "h/x", "mqtts://h", "a\nb", "-h"])
def test_host_that_is_none_is_refused(tmp_path, host):
    with pytest.raises(errors.SettingsError, match="broker host"):
        made(tmp_path / "x", hosts=(host,))


def test_one_name_is_one_identity(deployment, tmp_path):
    with pytest.raises(errors.SettingsError, match="identity 'cam1' is named twice"):
        made(tmp_path / "x", folder.Wanted(("cam1",), clouds=("cam1",)))
    with pytest.raises(errors.SettingsError, match="identity 'cloud' exists already"):
        folder.add(deployment, ["cam3", "cloud"])
    assert not (deployment / "clients" / "cam3").exists()


def test_unknown_name_is_told_the_known_ones(deployment):
    for change in (folder.revoke, folder.rotate):
        before = everything(deployment)
        with pytest.raises(errors.SettingsError, match=r"no identity 'cam9' .*; there are cam1, cam2, cloud, consumer"):
            change(deployment, ["cam1", "cam9"])
        assert everything(deployment) == before


def test_keys_are_private(deployment):
    for place in (deployment, *deployment.rglob("*")):
        mode = stat.S_IMODE(place.stat().st_mode)
        assert mode & 0o007 == 0, place
        if place.is_file():
            assert mode == 0o600, place
        elif place != deployment:
            assert mode == 0o700, place
    # The broker's user gets through to its own folder, if it is another than ours.
    assert stat.S_IMODE(deployment.stat().st_mode) == (0o710 if os.geteuid() == 0 else 0o700)


def test_broker_has_no_key_but_its_own(deployment):
    server = everything(deployment / "server")
    secrets = [data for name, data in everything(deployment).items() if name.endswith(".key") and "server/" not in name]

    assert len(secrets) == 6  # the CA, two devices, cloud, consumer, operator
    assert not [name for name, data in server.items() if data in secrets]


def test_existing_folder_is_never_replaced(deployment, tmp_path):
    before = everything(deployment)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path in (deployment, tmp_path / "empty", tmp_path / "dangling"):
        with pytest.raises(errors.SettingsError, match="exists already; it is never replaced"):
            made(path)
    assert everything(deployment) == before


@pytest.mark.parametrize("name", ["my broker", os.fsdecode(b"caf\xe9")])
def test_path_that_systemd_cannot_take_is_refused(tmp_path, name):
    with pytest.raises(errors.SettingsError, match="systemd units take no spaces"):
        made(tmp_path / name)


def test_nothing_is_left_of_a_folder_that_could_not_be_finished(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(authority.Signer, "issue_client", full)
    with pytest.raises(errors.DeviceError, match="No space left on device"):
        made(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_init_left_is_removed_by_the_next(tmp_path):
    script = (
        "import os, pathlib, sys\n"
        "from broker.deploy import authority, folder\n"
        "authority.Signer.issue_client = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "folder.init(pathlib.Path(sys.argv[1]), folder.Wanted(('a',)), deployment='d', hosts=('h',))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path / "x"], check=False)
    assert killed.returncode == -9
    assert [left.suffix for left in tmp_path.iterdir()] == [".partial"]
    made(tmp_path / "x")

    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_file_that_could_not_be_replaced_is_as_it_was(tmp_path, monkeypatch):
    place = tmp_path / "file"
    files.write(place, b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(place, b"new")
    assert place.read_bytes() == b"old"
    monkeypatch.undo()
    files.write(place, b"newer")
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes what belongs to another user")
def test_files_written_by_root_belong_to_the_brokers_user(deployment):
    folder.add(deployment, ["cam3"])
    owners = {place.owner() for place in (deployment / "server").rglob("*")}

    assert owners == {"mosquitto"}
    assert (deployment / "authority" / "ca.key").owner() == "root"


def test_ledger_is_read_as_it_was_written():
    assert ledger.parse(BOOK.as_json(), name="x") == BOOK


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema 2, expected 1; update tflsplit"),
        ({"hosts": None}, "damaged"),
        ({"proof": "oath"}, "damaged"),
        ({"identities": [{"name": "a"}]}, "damaged"),
        ({"revoked": ["zz"]}, "damaged"),
        ({"identities": [{"name": "../a", "role": "device", "serials": [], "password_hash": None}]}, "identity name"),
    ],
)
def test_damaged_ledger_is_refused(change, reason):
    with pytest.raises(errors.SettingsError, match=reason):
        ledger.parse(json.dumps(json.loads(BOOK.as_json()) | change), name="x")


def test_no_rule_has_a_wildcard_but_for_the_device_of_one_deployment():
    ours = r"tflsplit/v1/plant1/(cam1|cloud|reader|\+)/[a-z]+"
    home = r"homeassistant/(status|device/(tflsplit-plant1-cam1|\+)/config)"
    rules = [rule for rule in access.render(BOOK).splitlines() if rule.startswith("topic")]
    written = {rule.rpartition("/")[2] for rule in rules if rule.startswith("topic write") and "+" in rule}

    assert [rule for rule in rules if not re.fullmatch(rf"topic (read|write) ({ours}|{home})", rule)] == []
    assert written == {"results", "acks", "dead", "control"}


def test_revoked_identity_has_no_rule_and_no_folder(deployment):
    number = serial(deployment, "cam1")
    folder.revoke(deployment, ["cam1"])
    revoked = x509.load_pem_x509_crl((deployment / "server" / "revoked.crl").read_bytes())

    assert "user cam1\n" not in (deployment / "server" / "access.acl").read_text()
    assert "user cam2\n" in (deployment / "server" / "access.acl").read_text()
    assert not (deployment / "clients" / "cam1").exists()
    assert revoked.get_revoked_certificate_by_serial_number(number) is not None
    assert revoked.get_revoked_certificate_by_serial_number(serial(deployment, "cam2")) is None


def test_name_that_was_revoked_can_begin_anew(deployment):
    number = serial(deployment, "cam1")
    folder.revoke(deployment, ["cam1"])
    folder.add(deployment, ["cam1"])

    assert folder.read(deployment).revoked == (number,)
    assert serial(deployment, "cam1") != number


OLD_RULES_ARE_RENEWED_BY = [("run",), ("add-device", "cam3"), ("revoke", "cam2"), ("rotate", "--server")]


@pytest.mark.parametrize("words", OLD_RULES_ARE_RENEWED_BY, ids=lambda words: words[0])
def test_rules_that_an_older_version_made_are_written_anew_and_that_is_said_once(deployment, monkeypatch, words):
    monkeypatch.setattr(process, "become", lambda _: sys.exit(0))  # as a Mosquitto that ends well
    rules = deployment / "server" / "access.acl"
    old = [line for line in rules.read_text().splitlines() if not line.endswith("/serves")]
    rules.write_text("\n".join(old) + "\n")
    command, *others = words
    told = [CliRunner().invoke(group.command, [command, str(deployment), *others]) for _ in range(2)]

    assert told[0].exit_code == 0, told[0].output
    assert "access rules were not those of this version" in told[0].output
    assert "access rules" not in told[1].output
    assert rules.read_text().count("topic read tflsplit/v1/plant1/+/serves\n") > 2


def test_change_that_was_killed_is_mended_by_the_next(deployment, monkeypatch):
    def killed(_book):
        raise KeyboardInterrupt

    monkeypatch.setattr(access, "render", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.revoke(deployment, ["cam1"])
    monkeypatch.undo()
    folder.rotate(deployment, ["cam2"])

    assert "user cam1\n" not in (deployment / "server" / "access.acl").read_text()


@pytest.mark.parametrize("proof", Proof)
def test_session_of_a_reader_is_its_own_and_outlives_new_certificates(tmp_path, proof):
    if os.geteuid() == 0 and local_server.mosquitto_path() is None:
        pytest.skip("root needs the user that Mosquitto is installed with")
    path = tmp_path / "deployment"
    made(path, proof=proof)
    first, other = (connection.Broker(folder=path / "clients" / name) for name in ("cam1", "cam2"))
    before = first.reader_id("plant1", "archive", None)
    folder.rotate(path, ["cam1"])

    assert first.reader_id("plant1", "archive", None) == before
    assert len(before.rpartition("-")[2]) == 32  # 128 bits
    assert other.reader_id("plant1", "archive", None) != before


def test_certificates_last_as_long_as_said_and_no_longer_than_their_authority(deployment):
    folder.rotate(deployment, ["cam1"], days=30, now=NOW)
    late = NOW + datetime.timedelta(days=19 * 365)
    folder.rotate(deployment, ["cam2"], days=7300, now=late)
    signer, short, long = (
        x509.load_pem_x509_certificate((deployment / place).read_bytes())
        for place in ("authority/ca.crt", "clients/cam1/client.crt", "clients/cam2/client.crt")
    )

    assert abs(short.not_valid_after_utc - NOW - datetime.timedelta(days=30)) < datetime.timedelta(seconds=2)
    assert long.not_valid_after_utc == signer.not_valid_after_utc


def test_password_hash_is_the_one_mosquitto_makes(tmp_path):
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    (tmp_path / "passwords").touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", tmp_path / "passwords", "cam1", "pass:word"], check=True)
    theirs = (tmp_path / "passwords").read_text().strip().removeprefix("cam1:")
    salt = base64.b64decode(theirs.split("$")[3])

    assert mosquitto.password_hash("pass:word", salt) == theirs


def test_passwords_are_kept_as_hashes_only(tmp_path):
    made(tmp_path / "x", proof=Proof.PASSWORD)
    given = credentials.open_bundle(tmp_path / "x" / "clients" / "cam1")
    with pytest.raises(errors.SettingsError, match="one password at a time"):
        folder.rotate(tmp_path / "x", ["cam1"], keeps_old=True)
    folder.rotate(tmp_path / "x", ["cam2"])

    assert given.address.user == "cam1"
    assert len(given.credentials.password) >= 32
    assert not [
        name
        for name, data in everything(tmp_path / "x").items()
        if given.credentials.password.encode() in data and name != "clients/cam1/password"
    ]


def test_unit_passes_systemd(deployment):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = deployment / supervision.UNIT
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    score = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]  # 2.0
    scored = subprocess.run(score, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert scored.returncode == 0, scored.stdout.splitlines()[-1]


def test_compose_file_runs_the_brokers_folder_as_its_owner(deployment):
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((deployment / supervision.COMPOSE).read_text())["services"]
    broker = services["broker"]
    owner = (deployment / "server").stat()

    assert list(services) == ["broker"]
    assert re.fullmatch(r"eclipse-mosquitto:\d+\.\d+\.\d+", broker["image"])
    assert broker["command"] == ["mosquitto", "-c", "mosquitto.conf"]
    assert broker["volumes"] == [f"./server:{broker['working_dir']}"]
    assert broker["ports"] == ["8883:8883"]
    assert broker["user"] == f"{owner.st_uid}:{owner.st_gid}"
    assert broker["read_only"] is True
    assert set(broker) <= {
        *("image", "command", "working_dir", "volumes", "ports", "user", "read_only", "cap_drop", "security_opt"),
        *("restart", "stop_grace_period", "logging", "ulimits"),
    }


def test_no_broker_is_told_to_reload_that_is_not_this_folders(deployment):
    assert process.reload(deployment) is False
    (deployment / "server" / "mosquitto.pid").write_text(f"{os.getpid()}\n")  # ours: SIGHUP would end this test
    assert process.reload(deployment) is False
    (deployment / "server" / "mosquitto.pid").write_text("not a number")
    assert process.reload(deployment) is False


@pytest.mark.parametrize("use", [folder.read, process.reload, process.become, lambda path: folder.add(path, ["a"])])
def test_folder_that_is_no_deployment_is_refused(tmp_path, use):
    for path in (tmp_path, tmp_path / "absent", pathlib.Path("/dev/null")):
        with pytest.raises(errors.SettingsError, match=r"no deployment .*tflsplit broker init"):
            use(path)
