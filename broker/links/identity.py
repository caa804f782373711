"""What a client shows a broker of itself, looked at before the broker does: the dates and the name of its certificate,
whether it may be a client's, and who else can read its key.

Devices have no library that reads certificates, and Python's own tells of one only after a handshake. So there is one,
in memory: the certificate at both ends, each trusting it alone.
"""

import ssl
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from broker.transport.address import Credentials
from tflsplit import errors
from tflsplit.findings import Finding, State

_SOON_S = 30 * 86400
_DATES_DO_NOT_MATTER = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, for which Python has no name
_TURNS = 10  # of a handshake, which takes four


def findings(credentials: Credentials | None, name: str | None, *, now_s: float | None = None) -> tuple[Finding, ...]:
    """Of the files that a client shows; none if there are none. `name` is who it is at the broker, if that is known."""
    if credentials is None:
        return ()
    found = []
    if credentials.certificate is not None:
        found.append(_certificate(credentials, name, time.time() if now_s is None else now_s))
    key = credentials.key or credentials.certificate
    if key is not None and key.is_file() and key.stat().st_mode & stat.S_IROTH:
        detail = f"every user of this machine can read {key}, and be this client"
        found.append(Finding("key", State.WRONG, detail, f"chmod 600 {key}"))
    return tuple(found)


def ending(credentials: Credentials, name: str) -> Finding | None:
    """The finding of a client's certificate that is still good, and ends within 30 days."""
    found = findings(credentials, name) if credentials.certificate is not None else ()
    return next((each for each in found if each.state is State.INFO), None)


def ends_s(credentials: Credentials) -> float | None:
    """When a client's certificate ends, in s since the epoch; None without one, or for one that no broker takes."""
    if credentials.certificate is None:
        return None
    try:
        return _dates(_shown(credentials))[1]
    except (errors.SettingsError, ssl.SSLError):
        return None


def broker_certificate(shown: Mapping[str, Any] | None, *, now_s: float | None = None) -> tuple[Finding, ...]:
    """If the certificate that a broker has shown, as Python's `getpeercert` tells of it, ends soon."""
    _, ends_s = _dates(shown) if shown else (0.0, float("inf"))
    left_s = ends_s - (time.time() if now_s is None else now_s)
    if left_s > _SOON_S:
        return ()
    detail = f"ends in {max(0, int(left_s // 86400))} days ({_day(ends_s)}): nobody connects then"
    return (
        Finding("broker certificate", State.INFO, detail, "where it was made: tflsplit broker rotate DIR --server"),
    )


def _certificate(credentials: Credentials, name: str | None, now_s: float) -> Finding:
    file = credentials.certificate
    anew = f"where it was made: tflsplit broker rotate DIR {name or 'NAME'}, and copy DIR/clients/{name or 'NAME'} here"
    try:
        shown = _shown(credentials)
    except (errors.SettingsError, ssl.SSLError) as problem:
        reason = getattr(problem, "verify_message", None) or str(problem)
        return Finding("certificate", State.WRONG, f"{file}: no broker takes it: {reason}", anew)
    begins_s, ends_s = _dates(shown)
    common = next((value for part in shown["subject"] for key, value in part if key == "commonName"), "")
    if name is not None and common != name:
        detail = f"{file} is of {common!r}, its folder of {name!r}: to the broker this is {common!r}"
        return Finding("certificate", State.WRONG, detail, anew)
    if now_s < begins_s:
        detail = f"{file} begins {_day(begins_s)} UTC, and here it is {_day(now_s)}: the broker refuses it"
        return Finding(
            "certificate", State.WRONG, detail, f"set the clock: timedatectl set-ntp true; if it is right, {anew}"
        )
    if now_s > ends_s:
        return Finding("certificate", State.WRONG, f"{file} ended {_day(ends_s)} UTC: the broker refuses it", anew)
    if ends_s - now_s < _SOON_S:
        detail = f"{file} of {common!r} ends in {int((ends_s - now_s) // 86400)} days ({_day(ends_s)})"
        return Finding("certificate", State.INFO, detail, anew)
    return Finding("certificate", State.OK, f"of {common!r}, until {_day(ends_s)}")


def _shown(credentials: Credentials) -> Mapping[str, Any]:
    """The certificate as a broker sees it that trusts it. SettingsError for files that are none, SSLError for a
    certificate that is not for clients."""
    client, broker = (_trusting(credentials, side) for side in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    broker.verify_mode = ssl.CERT_REQUIRED
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, asked = client.wrap_bio(back, there), broker.wrap_bio(there, back, server_side=True)
    for turn in range(_TURNS):
        try:
            (asked if turn % 2 else asking).do_handshake()
        except ssl.SSLWantReadError:
            continue
    return asked.getpeercert() or {}


def _trusting(credentials: Credentials, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    file = cast(Path, credentials.certificate)
    try:
        context.load_cert_chain(file, credentials.key, password="")
        context.load_verify_locations(file)
    except OSError as problem:  # SSLError is one
        raise errors.SettingsError(f"with {credentials.key or 'its own key'}: {problem}") from problem
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _DATES_DO_NOT_MATTER
    return context


def _dates(shown: Mapping[str, Any]) -> tuple[float, float]:
    begins_s, ends_s = (float(ssl.cert_time_to_seconds(str(shown[name]))) for name in ("notBefore", "notAfter"))
    return begins_s, ends_s


def _day(when_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(when_s))
