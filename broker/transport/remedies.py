"""Why a broker was not reached or refused us, in words that name what to do about it."""

import ssl

from broker.transport import network
from broker.transport.address import Address
from broker.transport.state import Lost

# Verification errors of OpenSSL (x509_vfy.h).
_NOT_YET_VALID = 9
_CERTIFICATE = {
    _NOT_YET_VALID: "this machine's clock is behind, and is waited for; set it (timedatectl set-ntp true)",
    10: "renew it at the broker, or set this machine's clock",
    18: "give its authority with --ca",
    19: "give its authority with --ca",
    20: "give its authority with --ca",
    62: "give {option} the name that the certificate is for",
    64: "give {option} the name that the certificate is for",
}

_BAD_USER, _NOT_AUTHORIZED = 0x86, 0x87


_OPTION = {"mqtt": "--broker", "amqp": "--queue"}  # by scheme


def of_opening(problem: OSError, where: Address, scheme: str = "mqtt") -> Lost:
    """TCP or TLS failed."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        is_early = problem.verify_code == _NOT_YET_VALID
        remedy = _CERTIFICATE.get(problem.verify_code, "").format(option=_OPTION[scheme])
        reason = f"certificate not trusted: {problem.verify_message}" + (f"; {remedy}" if remedy else "")
        return Lost(reason, is_for_good=not is_early, is_early=is_early, cause=problem)
    reason = problem.strerror or str(problem) or type(problem).__name__
    is_silent = network.is_silent(problem)
    if where.tls and not is_silent and not isinstance(problem, TimeoutError):
        reason += f"; a broker without TLS at this port ends like that: it is {scheme}://{where} then"
    return Lost(reason, is_silent=is_silent, cause=problem)


def of_hanging_up(where: Address, scheme: str = "mqtt") -> str:
    """After the connection was opened, and before the broker accepted it."""
    if where.tls:
        # In TLS 1.3 our side of the handshake ends before the broker looks at our certificate.
        return "; a broker that does not accept our certificate, or wants one, hangs up like that"
    return f"; a broker that wants TLS at this port ends like that: it is {scheme}s://{where} then"


def of_refusal(code: int, where: Address, *, has_password: bool, has_certificate: bool) -> str:
    """CONNACK's reason code says that we are not who may come in."""
    if code not in (_BAD_USER, _NOT_AUTHORIZED):
        return ""
    if where.user is None and not has_certificate:
        return f"; give a user (mqtt{'s' * where.tls}://USER@{where}) and --password-file, or a certificate with --cert"
    if where.user is not None and not has_password:
        return f"; give the password of {where.user!r} with --password-file"
    return "; look at the user or certificate, the password, and what the broker allows them"
