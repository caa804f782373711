import json
import logging
import subprocess

import pytest

from broker.transport import address, credentials
from broker.transport.address import Credentials
from tflsplit import errors


@pytest.fixture
def folder(tmp_path):
    """What a client with a password has; nothing opens the authority's certificate here."""
    (tmp_path / "broker.json").write_bytes(
        credentials.describe(["mqtts://cam1@h:1"], "plant1", "cam1", "device", "5e55")
    )
    (tmp_path / "password").write_text("secret\nnot this\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "ca.crt").touch()
    return tmp_path


def test_folder_is_read_as_it_was_described(folder):
    opened = credentials.open_bundle(folder)

    assert str(opened.address) == "h:1"
    assert (opened.address.user, opened.address.tls) == ("cam1", True)
    assert (opened.deployment, opened.name) == ("plant1", "cam1")
    assert opened.credentials == Credentials(password="secret", ca=folder / "ca.crt")
    assert "secret" not in repr(opened)


@pytest.mark.parametrize("other", [("plant1", "cam2"), ("plant1", "cam10")])
def test_credentials_speak_for_their_holder_only(folder, other):
    opened = credentials.open_bundle(folder)
    opened.check_speaks_for("plant1", "cam1")

    with pytest.raises(errors.SettingsError, match="are those of 'cam1' in deployment 'plant1'"):
        opened.check_speaks_for(*other)
    with pytest.raises(errors.SettingsError, match="are for deployment 'plant1', not for 'plant2'"):
        opened.check_speaks_for("plant2", other[1])


def test_who_has_another_role_at_the_broker_is_refused_in_a_line(folder):
    opened = credentials.open_bundle(folder)
    opened.check_is_for(credentials.Role.DEVICE)

    with pytest.raises(errors.SettingsError, match="'cam1' has the role device at the broker") as refused:
        opened.check_is_for(credentials.Role.CLOUD)
    assert "--role cloud" in str(refused.value)


def test_an_operator_may_look_at_the_devices_that_it_steers(folder):
    described = json.loads((folder / "broker.json").read_bytes())
    (folder / "broker.json").write_text(json.dumps(described | {"role": "operator"}))
    opened = credentials.open_bundle(folder)
    opened.check_is_for(credentials.Role.CONSUMER)

    with pytest.raises(errors.SettingsError, match="has the role operator"):
        opened.check_is_for(credentials.Role.DEVICE)


def test_a_folder_from_before_roles_were_read_is_for_every_role(folder):
    described = json.loads((folder / "broker.json").read_bytes())
    del described["role"]
    (folder / "broker.json").write_text(json.dumps(described))

    for role in credentials.Role:
        credentials.open_bundle(folder).check_is_for(role)


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (b"", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "damaged"),
        (b"{}", "damaged"),
        (b'{"schema": 2}', "schema 2, expected 1; update tflsplit"),
        (b'{"schema": 1, "deployment": "d", "name": "n"}', "lacks 'url'"),
        (b'{"schema": 1, "url": 1, "deployment": "d", "name": "n"}', "damaged"),
        (b'{"schema": 1, "url": "http://h", "deployment": "d", "name": "n"}', "expected mqtt://"),
        (b'{"schema": 1, "url": "mqtts://u:hunter2@h", "deployment": "d", "name": "n"}', "a password in the address"),
    ],
)
def test_damaged_description_is_refused(folder, description, reason):
    (folder / "broker.json").write_bytes(description)

    with pytest.raises(errors.SettingsError, match=reason) as refusal:
        credentials.open_bundle(folder)
    assert "hunter2" not in str(refusal.value)


def test_folder_without_proof_or_description_is_refused(folder):
    (folder / "password").unlink()
    with pytest.raises(errors.SettingsError, match=r"neither client\.crt nor password is there"):
        credentials.open_bundle(folder)
    (folder / "broker.json").unlink()
    with pytest.raises(errors.SettingsError, match=r"broker\.json cannot be read .* below clients/"):
        credentials.open_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"\n", b"\nsecond", b"\xff"])
def test_password_file_without_one_is_refused(tmp_path, content):
    (tmp_path / "p").write_bytes(content)

    with pytest.raises(errors.SettingsError, match="password file"):
        credentials.read_password(tmp_path / "p")


def test_secret_that_everyone_may_read_is_told_of(folder, caplog):
    with caplog.at_level(logging.WARNING):
        credentials.open_bundle(folder)
        assert caplog.records == []
        (folder / "password").chmod(0o644)
        credentials.open_bundle(folder)

    assert "secret is readable by every user" in caplog.text
    assert "secret\n" not in caplog.text


def test_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=x -passout pass:hunter2"
    files = ["-keyout", tmp_path / "key", "-out", tmp_path / "crt"]
    try:
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")

    with pytest.raises(errors.SettingsError, match="encrypted with a passphrase"):
        Credentials(certificate=tmp_path / "crt", key=tmp_path / "key").ssl_context()


def test_proof_that_would_never_be_shown_is_refused(tmp_path):
    with pytest.raises(errors.SettingsError, match="certificates are for TLS; give its address as mqtts://"):
        Credentials(ca=tmp_path / "ca").check_fit(address.parse("mqtt://h"))
    with pytest.raises(errors.SettingsError, match="a password needs a user name: mqtts://user@h:8883"):
        Credentials(password="x").check_fit(address.parse("mqtts://h"))
    with pytest.raises(errors.SettingsError, match="a certificate goes with it"):
        Credentials(key=tmp_path / "key")


def test_description_tells_people_what_it_is():
    said = json.loads(credentials.describe(["mqtts://h"], "plant1", "cam1", "device", "5e55"))

    assert said == {
        "schema": 1,
        "url": "mqtts://h",
        "deployment": "plant1",
        "name": "cam1",
        "role": "device",
        "session": "5e55",
    }


def test_a_password_may_come_from_an_editor_of_windows(tmp_path):
    (tmp_path / "p").write_bytes("\ufeffsécret\r\n\r\n".encode())
    (tmp_path / "p").chmod(0o600)

    assert credentials.read_password(tmp_path / "p") == "sécret"
