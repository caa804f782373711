"""Whether a broker can be reached, its version of MQTT, and the round-trip time of a message."""

import contextlib
import os
import socket
import ssl
import statistics
import time
from collections.abc import Mapping

from broker.links import identity
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import protocol
from broker.transport.address import Address, Credentials
from tflsplit import errors
from tflsplit.findings import Finding, State

_ROUNDS = 9
_PATIENCE_S = 2.0

# Nagle's algorithm holds a small packet back until the previous one is acknowledged, which the other side delays by 40
# ms. Less than that is left after subtracting the link's own time; it tells the stall from a slow link.
_STALL_S = 0.035

_NOT_TIMED = Finding(
    "broker round trip", State.INFO, "not measured: a client of `tflsplit broker init` may send nothing to itself"
)


def probe(
    where: Address, *, credentials: Credentials | None = None, is_bound: bool = False, timeout_s: float = 5.0
) -> tuple[Finding, ...]:
    """A finding on the connection and, if the broker can be reached, one on the round-trip time and one on its
    certificate if that ends soon. Nothing is timed where a client `is_bound` to the topics of its own role."""
    name = f"doctor-{os.urandom(4).hex()}"
    try:
        made = transport.MqttTransport(
            where, client_id=f"tflsplit-{name}", credentials=credentials, connect_timeout_s=timeout_s
        )
    except errors.SettingsError as problem:
        return (Finding("broker", State.WRONG, f"{where}: not tried: {problem}", "give files that are whole"),)
    with contextlib.closing(made):
        try:
            link_s = _time_link(where, timeout_s)
            made.connect(timeout_s=timeout_s)
        except (OSError, errors.BrokerError) as problem:
            reason, _, remedy = _reason(problem).removeprefix(f"broker {where}: ").partition("; ")
            remedy = remedy or "start it, or give another --broker; for a first try: `tflsplit broker run`"
            return (*clock(credentials), Finding("broker", State.WRONG, f"{where}: {reason}", remedy))
        speaks = f"{where} speaks MQTT {made.version}, takes {_limit(made.max_packet_bytes)}"
        certificate = identity.broker_certificate(_shown(where, credentials or Credentials(), timeout_s))
        timed = _NOT_TIMED if is_bound else round_trip(made, name, link_s)
        return Finding("broker", State.OK, speaks), timed, *certificate


def clock(credentials: Credentials | None) -> tuple[Finding, ...]:
    """A finding if this machine's clock is before the beginning of the authority that it trusts."""
    if credentials is None or credentials.ca is None:
        return ()
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known.load_verify_locations(credentials.ca)
    begins_s = max((ssl.cert_time_to_seconds(str(each["notBefore"])) for each in known.get_ca_certs()), default=0)
    if time.time() >= begins_s:
        return ()
    now, begin = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(when_s)) for when_s in (time.time(), begins_s))
    detail = f"it is {now} UTC here, before {credentials.ca} begins ({begin}): every certificate is refused"
    return (Finding("clock and certificates", State.WRONG, detail, "set the clock: `sudo timedatectl set-ntp true`"),)


def round_trip(online: protocol.Transport, name: str, link_s: float) -> Finding:
    """Times messages at QoS 1 that `online`, as device `name`, sends to itself."""
    topic = topics.topic("doctor", name, topics.Kind.TELEMETRY)
    took_s = []
    try:
        online.subscribe(topic, timeout_s=_PATIENCE_S)
        for _ in range(_ROUNDS):
            began_s = time.perf_counter()
            online.publish(topic, b"{}", timeout_s=_PATIENCE_S)
            message = online.receive(_PATIENCE_S)
            if message is None:
                detail = f"not measured: a message on {topic} did not come back, access rules may forbid it"
                return Finding("broker round trip", State.INFO, detail)
            took_s.append(time.perf_counter() - began_s)
            online.acknowledge(message)
    except errors.BrokerError as problem:
        return Finding("broker round trip", State.INFO, f"not measured: {problem}")
    return judge_round_trip(statistics.median(took_s), link_s)


def judge_round_trip(took_s: float, link_s: float) -> Finding:
    """Judges a round trip of `took_s`; `link_s` is the network's own part."""
    detail = f"{took_s * 1000:.1f} ms at QoS 1; to open a connection takes {link_s * 1000:.1f} ms"
    if took_s - link_s < _STALL_S:
        return Finding("broker round trip", State.OK, detail)
    remedy = "set TCP_NODELAY in the broker (Mosquitto: set_tcp_nodelay true); if it is set, the broker is overloaded"
    return Finding("broker round trip", State.WRONG, f"{detail}, so it stalls", remedy)


def _time_link(where: Address, timeout_s: float) -> float:
    """Opening a TCP connection takes one round trip."""
    began_s = time.perf_counter()
    with socket.create_connection((where.host, where.port), timeout=timeout_s):
        return time.perf_counter() - began_s


def _shown(where: Address, credentials: Credentials, timeout_s: float) -> Mapping[str, object] | None:
    """What the broker's certificate says; None without TLS, and where there is no second connection."""
    if not where.tls:
        return None
    with (
        contextlib.suppress(OSError),
        socket.create_connection((where.host, where.port), timeout=timeout_s) as plain,
        credentials.ssl_context().wrap_socket(plain, server_hostname=where.host) as encrypted,
    ):
        return encrypted.getpeercert()
    return None


def _limit(packet_bytes: int) -> str:
    if packet_bytes >= protocol.Limits().packet_bytes:
        return "packets of any size"
    return f"packets of up to {packet_bytes:,} bytes"


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
