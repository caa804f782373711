"""Why a member is not reached or does not let us in, in words that name what to do: found by knocking once more, since
the library does not tell. And whether a certificate of ours may be shown by one who listens.
"""

import contextlib
import socket
import ssl

from broker.transport import network, remedies
from broker.transport.address import Address, Credentials
from broker.transport.state import Lost
from tflsplit import errors
from tflsplit.values.classes import replace

_UNSUITABLE_PURPOSE = 26  # of OpenSSL (x509_vfy.h)
_TURNS = 10  # of a handshake in memory, which takes four
# One who refuses our certificate says so after our side of the handshake has ended; who does not, says nothing.
_REFUSAL_S = 2.0

_LISTENER = (
    "whoever listens needs the certificate of a cloud or a worker, which `tflsplit broker rotate DIR NAME` makes"
)


def why(where: Address, credentials: Credentials, timeout_s: float) -> Lost:
    """For an address where no member was met."""
    try:
        with socket.create_connection((where.host, where.port), timeout_s) as opened:
            if where.tls:
                return _shake_hands(opened, credentials)
        return Lost("it was reached, and does not answer as a member; does it want TLS (zenohs://)?")
    except ssl.SSLCertVerificationError as problem:
        return _distrust(problem, where)
    except ssl.SSLError as problem:
        return _refusal(problem, where)
    except OSError as problem:
        if where.tls and not network.is_silent(problem):
            return Lost(f"it does not speak TLS, or is slow; is it zenoh://{where}?", cause=problem)
        return remedies.of_opening(problem, replace(where, tls=False))


def check_may_listen(credentials: Credentials) -> None:
    """SettingsError for a certificate that those who connect would refuse."""
    client = credentials.ssl_context()
    client.check_hostname = False
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(str(credentials.certificate), credentials.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, asked = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    try:
        for turn in range(_TURNS):
            with contextlib.suppress(ssl.SSLWantReadError):
                (asked if turn % 2 else asking).do_handshake()
    except ssl.SSLCertVerificationError as problem:
        remedy = f"; {_LISTENER}" if problem.verify_code == _UNSUITABLE_PURPOSE else ""
        raise errors.SettingsError(
            f"certificate {credentials.certificate}: nobody would connect to us: {problem.verify_message}{remedy}"
        ) from problem


def _shake_hands(opened: socket.socket, credentials: Credentials) -> Lost:
    context = credentials.ssl_context()
    context.check_hostname = False
    with context.wrap_socket(opened) as secured:
        secured.settimeout(_REFUSAL_S)
        with contextlib.suppress(TimeoutError):
            secured.recv(1)
            return Lost("it hung up after the handshake; one that does not accept our certificate ends like that")
    return Lost("it was reached, and does not answer as a member; is its version another?")


def _distrust(problem: ssl.SSLCertVerificationError, where: Address) -> Lost:
    found = remedies.of_opening(problem, where)
    if problem.verify_code == _UNSUITABLE_PURPOSE:
        return replace(found, reason=f"{found.reason}; {_LISTENER}")
    if found.is_early:
        return found
    return replace(found, reason=f"its certificate is not this deployment's: {problem.verify_message}")


def _refusal(problem: ssl.SSLError, where: Address) -> Lost:
    words = (problem.reason or str(problem)).lower().replace("_", " ")
    if "alert" in words:
        return Lost(f"it does not accept our certificate: {words}", is_for_good=True, cause=problem)
    return Lost(f"it does not speak TLS ({words}); is it zenoh://{where}?", cause=problem)
