"""The certificate authority of a deployment. The only module that uses the `cryptography` library for certificates.

Certificates and keys are passed as PEM bytes. Keys are on the elliptic curve P-256: the handshake is ten times cheaper
for a small device than with RSA, and every TLS 1.2 library has the curve.
"""

import datetime
import ipaddress
from collections.abc import Sequence

from broker.deploy import ledger
from tflsplit import errors, extras
from tflsplit.values.classes import dataclass, field

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ModuleNotFoundError as missing:
    raise errors.DeviceError(extras.need("making certificates", "cryptography")) from missing

PublicKey = ec.EllipticCurvePublicKey

# Those that TLS 1.3 signs with: a client with another, as secp256k1, could never connect.
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

# A device without a battery-backed clock starts in the past, and must still accept the server's certificate.
_BACKDATED = datetime.timedelta(days=1)

# Longer than anything it signs. The revocation list is valid as long, because an expired list would lock everybody out.
_AUTHORITY_LASTS = datetime.timedelta(days=20 * 365)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate for a client, and its private key unless that is the client's own; when it ends, as Unix time."""

    certificate: bytes
    serial: int
    ends_s: int
    key: bytes | None = field(default=None, repr=False)


class Signer:
    """An authority that is open, to sign for many."""

    def __init__(self, authority: Pair) -> None:
        self.certificate, self.key = _opened(authority)

    def issue_client(
        self,
        name: str,
        now: datetime.datetime,
        *,
        days: int,
        public_key: PublicKey | None = None,
        may_listen: bool = False,
    ) -> Issued:
        """A certificate whose common name is the user name at the broker. It is not valid for a server, but for one
        that `may_listen` to direct links: it names no host, so that no client of a broker takes it for one. Without a
        `public_key` there is a new key."""
        key = ec.generate_private_key(ec.SECP256R1()) if public_key is None else None
        shown = key.public_key() if key is not None else public_key
        assert shown is not None  # noqa: S101 - for mypy
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *[ExtendedKeyUsageOID.SERVER_AUTH] * may_listen]
        made = _signed(self, name, shown, (usages, None), now, days=days)
        ends_s = int(made.not_valid_after_utc.timestamp())
        return Issued(_pem(made), made.serial_number, ends_s, None if key is None else _key_pem(key))


def issue_client(authority: Pair, name: str, now: datetime.datetime, *, days: int) -> Issued:
    """See `Signer.issue_client`."""
    return Signer(authority).issue_client(name, now, days=days)


def make(deployment: str, now: datetime.datetime) -> Pair:
    """A new authority: certificates of other deployments are not valid here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"tflsplit {deployment}")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    unsigned = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Pair(_pem(unsigned.sign(key, hashes.SHA256())), _key_pem(key))


def issue_server(authority: Pair, hosts: Sequence[str], now: datetime.datetime, *, days: int) -> Pair:
    """A certificate for a broker with these `hosts`, names or IP addresses."""
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ([ExtendedKeyUsageOID.SERVER_AUTH], names)
    return Pair(_pem(_signed(Signer(authority), hosts[0], key.public_key(), purpose, now, days=days)), _key_pem(key))


def requested(request: bytes, *, file: str) -> tuple[str, PublicKey]:
    """The common name and the public key in a certificate signing request, PEM or DER, made where the key stays.

    SettingsError for one that is damaged, is not signed by its own key, or names no client, for several in one file,
    and for a key that no broker would take.
    """
    count = request.count(b"-----BEGIN ")
    if count > 1:
        raise errors.SettingsError(f"{file}: has {count} parts, of which one could be signed; give a file for each")
    try:
        is_pem = count == 1
        found = x509.load_pem_x509_csr(request) if is_pem else x509.load_der_x509_csr(request)
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = found.public_key()
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise errors.SettingsError(f"{file}: is no certificate signing request ({errors.one_line(cause)})") from cause
    if not found.is_signature_valid:
        raise errors.SettingsError(f"{file}: its signature is not of its own key; make the request again")
    if not isinstance(key, PublicKey) or not isinstance(key.curve, _CURVES):
        raise errors.SettingsError(
            f"{file}: its key is not on the elliptic curve P-256, P-384 or P-521: "
            "openssl ecparam -name prime256v1 -genkey -noout -out client.key"
        )
    if len(names) != 1:
        raise errors.SettingsError(f"{file}: has {len(names)} common names, and one is expected: the client's name")
    name = str(names[0].value)
    try:
        ledger.check_name(name)
    except errors.SettingsError as refused:
        raise errors.SettingsError(f"{file}: {refused}; make the request again") from refused
    return name, key


def end_of(certificate: bytes) -> datetime.datetime:
    """When a certificate (PEM) ends. ValueError for what is none."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def public_key(certificate: bytes) -> PublicKey:
    """The key that a certificate of ours is for."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, PublicKey)  # noqa: S101 - others are refused
    return key


def revocation_list(authority: Pair, serials: Sequence[int], number: int, issued: datetime.datetime) -> bytes:
    """The list of revoked serials. OpenSSL uses the list with the latest time, in seconds: `issued` must increase."""
    signer, key = _opened(authority)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.subject)
        .last_update(issued)
        .next_update(signer.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(issued).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _signed(
    signer: Signer,
    name: str,
    key: PublicKey,
    purpose: tuple[Sequence[x509.ObjectIdentifier], x509.SubjectAlternativeName | None],
    now: datetime.datetime,
    *,
    days: int,
) -> x509.Certificate:
    usages, names = purpose
    lasts = min(datetime.timedelta(days=days), signer.certificate.not_valid_after_utc - now)
    unsigned = (
        _builder(_name(name), signer.certificate.subject, key, now, lasts)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    if names is not None:
        unsigned = unsigned.add_extension(names, critical=False)
    return unsigned.sign(signer.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    now: datetime.datetime,
    lasts: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _opened(authority: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - for mypy: `make` made it
    return x509.load_pem_x509_certificate(authority.certificate), key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])  # X.520's bound; names fit


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
