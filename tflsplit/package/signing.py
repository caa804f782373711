"""Signatures of updates: Ed25519 keys, and signatures over what a device is offered.

The only door to the `cryptography` library's signatures. Keys are PEM files, the private one unencrypted: a push runs
unattended, and only the file's permissions protect the key.
"""

import logging
import os
import stat
from pathlib import Path

from tflsplit import arguments, errors, extras

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ModuleNotFoundError as missing:
    raise errors.DeviceError(extras.need("signing updates", "cryptography")) from missing

_log = logging.getLogger(__name__)

PUBLIC_SUFFIX = ".pub"

# Signed with every text, so that a signature which the same key made for anything else is not valid here.
_CONTEXT = b"tflsplit update 1\n"


class Signer:
    """A private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(_CONTEXT + text)


class Verifier:
    """A public key."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def has_signed(self, text: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, _CONTEXT + text)
        except InvalidSignature:
            return False
        return True


def make(path: Path) -> Path:
    """A new key at `path`, readable by its owner alone, and its public half beside it, whose path comes back.

    SettingsError where either exists: a key that devices trust must not be overwritten by mistake. DeviceError if it
    cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.stem}{PUBLIC_SUFFIX}")
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    halves = (
        (path, 0o600, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)),
        (public, 0o644, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)),
    )
    for file, _, _ in halves:
        if os.path.lexists(file):
            raise errors.SettingsError(f"{file} exists already; a key is never replaced, give another name")
    made: list[Path] = []
    try:
        for file, mode, data in halves:
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                made.append(file)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as cause:
        for file in made:
            file.unlink(missing_ok=True)
        raise errors.DeviceError(f"{path}: cannot be written ({cause.strerror}); nothing was left") from cause
    return public


def open_private(path: Path) -> Signer:
    data = _read(path)
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("signing key is readable by every user of this machine file=%s remedy='chmod 600'", path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise errors.SettingsError(
            f"signing key {path}: no private key in PEM without a passphrase; make one with `tflsplit keygen`"
        ) from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise errors.SettingsError(f"signing key {path}: not an Ed25519 key; make one with `tflsplit keygen`")
    return Signer(key)


def open_public(path: Path) -> Verifier:
    data = _read(path)
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise errors.SettingsError(
            f"update key {path}: no public key in PEM; give the file ending in {PUBLIC_SUFFIX} "
            "that `tflsplit keygen` wrote"
        ) from cause
    if not isinstance(key, Ed25519PublicKey):
        raise errors.SettingsError(f"update key {path}: not an Ed25519 key; make one with `tflsplit keygen`")
    return Verifier(key)


def _read(path: Path) -> bytes:
    try:
        return arguments.read(path)
    except OSError as cause:
        raise errors.SettingsError(f"key {path} cannot be read ({cause.strerror})") from cause
