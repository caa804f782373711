"""Names by the thousand: out of files, signed for keys that are elsewhere, interrupted, listed and renewed together."""

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from broker.deploy import access, folder, ledger, name_lists, process
from broker.local import server as local_server
from broker.transport.credentials import Role
from tflsplit import errors
from tflsplit.cli.commands.broker import group


@pytest.fixture
def deployment(tmp_path):
    if os.geteuid() == 0 and local_server.mosquitto_path() is None:
        pytest.skip("root needs the user that Mosquitto is installed with")
    wanted = folder.Wanted(("cam1", "cam2"))
    folder.init(tmp_path / "deployment", wanted, deployment="plant1", hosts=("broker.example",))
    return tmp_path / "deployment"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("cam1\ncam2\n", ("cam1", "cam2")),
        ("\ufeffcam1\r\n\r\n# the yard\r\ncam2\r\n", ("cam1", "cam2")),
        ("site,name\nnorth,cam1\nsouth,cam2\n", ("cam1", "cam2")),
        ("device;group\ncam1;a\n", ("cam1",)),
        ('"cam1"\n', ("cam1",)),
        ("# the yard\n\nname,place\ncam1,a\n", ("cam1",)),
        ('name,place\n"cam1","by the door,\nleft"\ncam2\n', ("cam1", "cam2")),
        ("device,name\nedgetpu,cam1\n", ("cam1",)),
    ],
)
def test_names_are_read_from_lists_and_tables(tmp_path, content, names):
    file = tmp_path / "names.csv"
    file.write_text(content, "utf-8")

    assert name_lists.read(file) == names


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("cam1\ncam2\ncam1\n", r"names:3: 'cam1' stands in line 1 already; nothing was done"),
        ("cam1\ncam/2\n", r"names:2: .*cam/2.*; nothing was done"),
        ("a,name\nnorth\n", r"names:2: has 1 column, the first line has 2; nothing was done"),
        ("a,name\nnorth,yard,cam1\n", r"names:2: has 3 columns, the first line has 2; nothing was done"),
        ("serial,place\n0815,yard\n", r"names:1: 0 of its 2 columns can have the names; nothing was done"),
        ("name,name\ncam1,cam2\n", r"names:1: 2 of its 2 columns can have the names; nothing was done"),
        ("\n# nobody\n", "no names are in it"),
    ],
)
def test_a_list_with_a_wrong_name_is_refused_by_line_before_anything_is_made(tmp_path, content, reason):
    file = tmp_path / "names"
    file.write_text(content)
    with pytest.raises(errors.SettingsError, match=reason):
        name_lists.read(file)
    words = ["init", str(tmp_path / "made"), "--deployment", "d", "--devices", str(file)]
    refused = CliRunner().invoke(group.command, words)

    assert isinstance(refused.exception, errors.SettingsError)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"cam\xe9\n", "names: cannot be read as a list of names .*utf-8"),
        (b'name,place\n"cam1,yard\ncam2,yard\n', "names:3: cannot be read as a list of names .*correct that line"),
        (b"name,place\ncam1," + b"x" * 200_000, "names:2: cannot be read as a list of names .*correct that line"),
    ],
)
def test_a_list_that_is_no_text_or_no_table_is_refused(tmp_path, content, reason):
    file = tmp_path / "names"
    file.write_bytes(content)

    with pytest.raises(errors.DataError, match=reason):
        name_lists.read(file)


def test_a_pipe_that_nobody_writes_to_has_no_names(tmp_path):
    os.mkfifo(tmp_path / "names")

    with pytest.raises(errors.SettingsError, match="no names are in it"):
        name_lists.read(tmp_path / "names")


def test_a_pipe_that_nobody_writes_to_is_no_request(tmp_path):
    os.mkfifo(tmp_path / "cam.csr")

    with pytest.raises(errors.SettingsError, match=r"cam\.csr: is no certificate signing request"):
        folder.sign(tmp_path, [tmp_path / "cam.csr"])


def request(tmp_path, name, key=None):
    """A signing request, as `openssl req -new` makes it where the key stays."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = built.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    made = tmp_path / f"{name}.csr"
    made.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return made


def test_a_key_that_was_made_on_the_device_stays_there_and_is_renewed(deployment, tmp_path):
    made = request(tmp_path, "cam9")
    names = folder.sign(deployment, [made])
    client = deployment / "clients" / "cam9"
    first = x509.load_pem_x509_certificate((client / "client.crt").read_bytes())
    wanted = x509.load_pem_x509_csr(made.read_bytes()).public_key()

    assert names == ("cam9",)
    assert sorted(file.name for file in client.iterdir()) == ["broker.json", "ca.crt", "client.crt"]
    assert first.public_key() == wanted
    assert "user cam9" in (deployment / "server" / "access.acl").read_text()
    folder.rotate(deployment, ["cam9"])
    second = x509.load_pem_x509_certificate((client / "client.crt").read_bytes())
    assert second.public_key() == wanted
    assert (second.serial_number, folder.read(deployment).revoked) != (first.serial_number, ())
    assert first.serial_number in folder.read(deployment).revoked


def test_requests_that_are_not_right_are_refused_and_none_is_signed(deployment, tmp_path):
    good = request(tmp_path, "cam9")
    damaged = tmp_path / "damaged.csr"
    damaged.write_bytes(good.read_bytes()[:200])
    both = tmp_path / "both.csr"
    both.write_bytes(request(tmp_path, "cam8").read_bytes() + request(tmp_path, "cam7").read_bytes())
    for wrong, reason in (
        (damaged, "no certificate signing request"),
        (request(tmp_path, "rsa", rsa.generate_private_key(65537, 2048)), "its key is not on the elliptic curve P-256"),
        (request(tmp_path, "coin", ec.generate_private_key(ec.SECP256K1())), "its key is not on the elliptic curve"),
        (both, r"both.csr: has 2 parts, of which one could be signed; give a file for each"),
        (good, r"cam9.csr: is for 'cam9', as .*cam9.csr is"),
        (request(tmp_path, "cloud"), "cloud.csr: 'cloud' is there with the role cloud"),
        (tmp_path / "nowhere.csr", "cannot be read"),
        (request(tmp_path, "..", ec.generate_private_key(ec.SECP384R1())), r"\.\.csr: identity"),
    ):
        with pytest.raises(errors.TflsplitError, match=reason):
            folder.sign(deployment, [good, wrong])
        assert not (deployment / "clients" / "cam9").exists()


def test_a_long_list_is_added_once_and_what_was_interrupted_is_made(deployment):
    names = [f"x{number}" for number in range(20)]
    assert folder.add(deployment, names[:15]) == tuple(names[:15])
    shutil.rmtree(deployment / "clients" / "x3")  # as a call that was ended leaves it: in the ledger, and not here

    assert folder.add(deployment, names, skips_known=True) == ("x3", *names[15:])
    assert {file.name for file in (deployment / "clients").iterdir()} >= set(names)
    with pytest.raises(errors.SettingsError, match="'x0' exists already"):
        folder.add(deployment, ["y", "x0"])


def test_certificates_that_end_soon_are_found(deployment):
    folder.add(deployment, ["short"], days=20)

    assert folder.ending(deployment, days=30) == ("short",)
    assert folder.ending(deployment, days=10) == ()


def test_a_name_costs_the_same_however_many_there_are():
    """Counted in what is asked of the names, for time tells nothing here."""
    asked = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other):
            nonlocal asked
            asked += 1
            return super().__eq__(other)

        __hash__ = str.__hash__

    names = [Name(f"cam{number}") for number in range(500)]
    book = ledger.Ledger(
        "d", ("h",), 8883, ledger.Proof.CERTIFICATE, tuple(ledger.Identity(name, Role.DEVICE) for name in names)
    )
    book.named(names[:100])
    book.with_changed({name: ledger.Identity(name, Role.DEVICE) for name in names[:100]})

    assert asked < 5 * len(names)


def test_the_rules_of_many_are_those_of_each(deployment):
    odd = tuple(ledger.Identity(name, Role.DEVICE) for name in ("cam.1", "cam-1", "tflsplit"))
    book = dataclasses.replace(folder.read(deployment), identities=(*folder.read(deployment).identities, *odd))
    rendered = access.render(book)
    for identity in book.identities:
        block = rendered.split(f"user {identity.name}\n")[1].split("\nuser ")[0].split()
        filters = {*access.may_write("plant1", identity), *access.may_read("plant1", identity)}
        assert {word for word in block if "/" in word} == {
            filter_.replace("plant1", book.deployment) for filter_ in filters
        }


def test_the_list_says_who_there_is_and_until_when(deployment):
    folder.add(deployment, ["short"], days=20)
    listed = CliRunner().invoke(group.command, ["list", str(deployment)]).output
    told = json.loads(CliRunner().invoke(group.command, ["list", str(deployment), "--json"]).output)

    row = next(line.split() for line in listed.splitlines() if "short" in line.split())
    assert {"short", "device", "19"} <= set(row)
    assert {each["name"]: each["role"] for each in told["identities"]}["operator"] == "operator"


def test_all_that_end_soon_are_renewed_together(deployment):
    folder.add(deployment, ["short"], days=20)
    before = {identity.name: identity.serials for identity in folder.read(deployment).identities}
    done = CliRunner().invoke(group.command, ["rotate", str(deployment), "--ending", "30"])
    after = {identity.name: identity.serials for identity in folder.read(deployment).identities}

    assert done.exit_code == 0, done.output
    assert {name for name in before if before[name] != after[name]} == {"short"}
    assert (
        "no certificate ends within 30 days"
        in CliRunner().invoke(group.command, ["rotate", str(deployment), "--ending", "30"]).output
    )


def test_a_broker_may_have_as_many_clients_as_the_hard_limit_of_files_allows():
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "from broker.deploy import process\n"
        "print(process.raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert said.split() == ["512", "512", "512"]
    assert process.clients_allowed(1024) == 1014
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0
