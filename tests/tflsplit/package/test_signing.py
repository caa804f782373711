"""Keys and signatures: what a device believes, and what it does not."""

import os
import stat

import pytest

from tflsplit import errors
from tflsplit.package import signing


@pytest.fixture
def key(tmp_path):
    signing.make(tmp_path / "plant.pem")
    return tmp_path / "plant.pem"


def test_what_a_key_signs_its_public_half_believes(key):
    signature = signing.open_private(key).sign(b"text")
    verifier = signing.open_public(key.with_suffix(".pub"))

    assert len(signature) == 64
    assert verifier.has_signed(b"text", signature)


@pytest.mark.parametrize("place", range(0, 64, 7))
def test_a_flipped_bit_in_the_signature_is_none(key, place):
    signature = bytearray(signing.open_private(key).sign(b"text"))
    signature[place] ^= 1

    assert not signing.open_public(key.with_suffix(".pub")).has_signed(b"text", bytes(signature))


@pytest.mark.parametrize("signature", [b"", b"short", bytes(64), bytes(65)])
def test_no_signature_is_none(key, signature):
    assert not signing.open_public(key.with_suffix(".pub")).has_signed(b"text", signature)


def test_neither_another_text_nor_another_key_is_believed(key, tmp_path):
    signing.make(tmp_path / "other.pem")
    signature = signing.open_private(key).sign(b"text")

    assert not signing.open_public(key.with_suffix(".pub")).has_signed(b"texts", signature)
    assert not signing.open_public(tmp_path / "other.pub").has_signed(b"text", signature)


def test_a_signature_for_another_purpose_is_none(key):
    """The key signs with what it is for, so that nobody can have it sign an offer unawares."""
    from cryptography.hazmat.primitives import serialization

    raw = serialization.load_pem_private_key(key.read_bytes(), None).sign(b"text")

    assert not signing.open_public(key.with_suffix(".pub")).has_signed(b"text", raw)


def test_only_its_owner_reads_a_private_key(key):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["plant.pem", "plant.pub"])
def test_a_key_is_never_replaced(tmp_path, name):
    (tmp_path / name).write_text("precious")

    with pytest.raises(errors.SettingsError, match="never replaced"):
        signing.make(tmp_path / "plant.pem")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_key_that_others_may_read_is_warned_of(key, caplog):
    os.chmod(key, 0o644)
    signing.open_private(key)

    assert "readable by every user" in caplog.text


@pytest.mark.parametrize("opens", [signing.open_private, signing.open_public])
def test_what_is_no_key_is_refused_in_words(tmp_path, opens):
    for data in (b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        (tmp_path / "k").write_bytes(data)
        with pytest.raises(errors.SettingsError, match="PEM"):
            opens(tmp_path / "k")
    with pytest.raises(errors.SettingsError, match="cannot be read"):
        opens(tmp_path / "absent")


def test_a_key_of_another_kind_is_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "k").write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "p").write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))

    with pytest.raises(errors.SettingsError, match="not an Ed25519 key"):
        signing.open_private(tmp_path / "k")
    with pytest.raises(errors.SettingsError, match="not an Ed25519 key"):
        signing.open_public(tmp_path / "p")
    with pytest.raises(errors.SettingsError, match="PEM"):
        signing.open_public(tmp_path / "k")


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(errors.DeviceError, match="cannot be written"):
        signing.make(tmp_path / "absent" / "k.pem")
