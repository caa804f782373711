"""How a meeting is told to the Zenoh library: keys of its configuration, as of version 1.10; pure.

Nobody is looked for unless the meeting says so, and with TLS no link without it is made or accepted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from broker.transport.address import Address, Credentials
from broker.zenoh.address import Meeting
from tflsplit import errors

Settings: TypeAlias = Mapping[str, object]

# The library's own tries to reach who is away.
_RETRY = {"period_init_ms": 100, "period_max_ms": 2000, "period_increase_factor": 2}


def of(
    meeting: Meeting,
    credentials: Credentials,
    *,
    namespace: str,
    silence_s: float,
    connect_timeout_s: float,
    sockets: tuple[Path | None, Sequence[Path]] = (None, ()),
) -> Settings:
    """A member that is silent for `silence_s` is lost. `sockets` are our own in a box, and those of the others there.
    SettingsError for credentials that do not fit."""
    check(meeting, credentials)
    kind, lease_ms = "tls" if meeting.is_tls else "tcp", round(silence_s * 1e3)
    is_box = meeting.folder is not None
    own, others = sockets
    listens = [_socket(own)] if own is not None else [_place(kind, each) for each in meeting.listens]
    found: dict[str, object] = {
        "mode": "peer",
        "namespace": namespace,
        "listen/endpoints": listens,
        "listen/exit_on_failure": True,
        "listen/timeout_ms": 0,
        "connect/endpoints": [_socket(each) for each in others] or [_place(kind, each) for each in meeting.at],
        "connect/exit_on_failure": False,
        "connect/timeout_ms": -1,
        "connect/retry": _RETRY,
        "scouting/gossip/enabled": meeting.discovers,
        "scouting/multicast/enabled": meeting.group is not None,
        "scouting/delay": 0,
        "open/return_conditions": {"connect_scouted": False, "declares": True},
        "transport/unicast/open_timeout": round(connect_timeout_s * 1e3),
        "transport/unicast/accept_timeout": round(connect_timeout_s * 1e3),
        "transport/link/protocols": ["unixsock-stream"] if is_box else [kind],
        "transport/link/tx/lease": lease_ms,
        "transport/link/tx/queue/congestion_control/block/wait_before_close": lease_ms * 1000,
        "transport/shared_memory/enabled": is_box,
    }
    if meeting.group is not None:
        found["scouting/multicast/address"] = str(meeting.group)
    if meeting.is_tls:
        found |= _tls(credentials)
    return found


def check(meeting: Meeting, credentials: Credentials) -> None:
    if not meeting.is_tls:
        if credentials.has_files:
            raise errors.SettingsError(f"direct link {meeting}: certificates are for TLS; give it as zenohs://")
        return
    if None in (credentials.ca, credentials.certificate, credentials.key):
        raise errors.SettingsError(
            f"direct link {meeting}: both sides show a certificate; give --credentials DIR, as `tflsplit broker init` "
            "makes them, or --ca, --cert and --key"
        )
    credentials.ssl_context()  # refuses what is no certificate, or does not fit its key


def _tls(credentials: Credentials) -> dict[str, object]:
    """Names are not compared: members come by whatever address they have, and every certificate for servers that the
    deployment's authority signed is that of a member who may listen, or of its broker."""
    at = "transport/link/tls"
    return {
        f"{at}/root_ca_certificate": str(credentials.ca),
        f"{at}/enable_mtls": True,
        f"{at}/verify_name_on_connect": False,
        f"{at}/close_link_on_expiration": True,
        **{f"{at}/{side}_certificate": str(credentials.certificate) for side in ("listen", "connect")},
        **{f"{at}/{side}_private_key": str(credentials.key) for side in ("listen", "connect")},
    }


def _place(kind: str, where: Address) -> str:
    return f"{kind}/{where}"


def _socket(path: Path) -> str:
    return f"unixsock-stream/{path}"
