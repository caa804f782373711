"""Where the machines of a placement meet without a broker, as their file states it; each worker is told its own way."""

import re
from collections.abc import Mapping, Sequence

from tflsplit import errors

# A host and its port, as `--broker` takes them.
_ADDRESS = re.compile(r"(?P<scheme>zenohs?)://(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")
_PORT = "7447"


def check(stated: Mapping[str, str | None], *, is_relayed: bool) -> None:
    """SettingsError for machines' addresses by which they could not all meet."""
    given = [address for address in stated.values() if address is not None]
    if not given:
        return
    if is_relayed:
        raise errors.SettingsError(
            'machines that have an address need no broker; leave the addresses out, or transport = "mqtt"'
        )
    wrong = next((address for address in given if not _ADDRESS.fullmatch(address)), None)
    if wrong is not None:
        raise errors.SettingsError(f"address is {wrong!r}, expected zenohs://host[:port], or zenoh:// without TLS")
    if len({address.partition("://")[0] for address in given}) > 1:
        raise errors.SettingsError("some addresses are zenoh:// and some zenohs://; take one for all")
    lacking = [name for name, address in stated.items() if address is None]
    if len(lacking) > 1:
        raise errors.SettingsError(
            f"{' and '.join(lacking[:2])} have no address, so they could not meet; one machine at most does without"
        )


def url(stated: Sequence[str | None], machine: int) -> str | None:
    """Of that machine, as `--broker` takes it: it listens at its own address and connects to the others'. None where
    none was stated."""
    found = [None if address is None else _ADDRESS.fullmatch(address) for address in stated]
    scheme = next((at["scheme"] for at in found if at), None)
    if scheme is None:
        return None
    others = [f"{at['host']}:{at['port'] or _PORT}" for place, at in enumerate(found) if at and place != machine]
    own = found[machine]
    return f"{scheme}://{','.join(others)}" + (f"?listen=:{own['port'] or _PORT}" if own else "")
