"""Where the members of a deployment meet without a broker.

    zenoh://[host[:port][,host[:port]…]][?listen=[host]:port][&discover]
    zenohs://…             the same with TLS, where both sides show a certificate of the deployment
    box:///folder          on one machine, through shared memory; the folder has the sockets

A multicast group as the host (`zenoh://224.0.0.224:7446`) finds those that listen in the same network.
"""

import ipaddress
import stat
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from broker.transport import address
from broker.transport.address import Address
from tflsplit import arguments, errors
from tflsplit.values.classes import dataclass

_PORT = 7447
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - asked for by who leaves the host out

# What the kernel takes as the path of a Unix socket, less the name of one (`broker.zenoh.box`) with its lock's ending.
_MOST_FOLDER_BYTES = 107 - len("/01234567.sock.lock")


@dataclass(frozen=True, slots=True)
class Meeting:
    """Who `listens` is online from then on, who only connects when one of `at` is reached. One that `discovers` is told
    by those it reached of the others that listen, and finds those of its multicast `group`. In a `folder` everyone
    listens, and connects to all others."""

    at: tuple[Address, ...] = ()
    listens: tuple[Address, ...] = ()
    is_tls: bool = False
    discovers: bool = False
    group: Address | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not (self.at or self.listens or self.group or self.folder):
            raise errors.SettingsError("a direct link needs somebody to connect to, or an address to listen at")
        if self.folder is not None and len(str(self.folder).encode()) > _MOST_FOLDER_BYTES:
            raise errors.SettingsError(
                f"box://{self.folder}: a path of at most {_MOST_FOLDER_BYTES} bytes holds sockets; choose a shorter one"
            )

    @property
    def is_listening(self) -> bool:
        return bool(self.listens) or self.folder is not None

    def __str__(self) -> str:
        if self.folder is not None:
            return f"box://{self.folder}"
        places = ",".join(map(str, self.at or ((self.group,) if self.group else self.listens)))
        return f"zenoh{'s' * self.is_tls}://{places}"


def parse(url: str) -> Meeting:
    """SettingsError for anything that is no address of a direct link."""
    scheme, separator, rest = arguments.text(url, "direct link").partition("://")
    if not separator or scheme not in address.DIRECT:
        raise _wrong(url, "expected zenoh://host[:port], zenohs:// for TLS, or box:///folder")
    if scheme == "box":
        path = Path(urllib.parse.unquote(rest))
        if not path.is_absolute():
            raise _wrong(url, "expected an absolute path, as in box:///run/plant1")
        return Meeting(folder=path)
    places, _, options = rest.partition("?")
    listens, discovers = _options(url, options)
    reached = [_address(scheme, place) for place in places.split(",")] if places else []
    groups = [each for each in reached if _is_group(each.host)]
    heard = [_address(scheme, f"{_EVERYWHERE}{place}" if place.startswith(":") else place) for place in listens]
    if len(groups) > 1 or any(_is_group(each.host) for each in heard):
        raise _wrong(url, "one multicast group at most, and nobody listens there: it is connected to")
    return Meeting(
        tuple(each for each in reached if each not in groups),
        tuple(heard),
        is_tls=scheme == "zenohs",
        discovers=discovers or bool(groups),
        group=groups[0] if groups else None,
    )


def _options(url: str, text: str) -> tuple[Sequence[str], bool]:
    """Where to listen, and whether others are looked for."""
    pairs = urllib.parse.parse_qsl(text, keep_blank_values=True)
    strange = [key for key, value in pairs if key not in ("listen", "discover") or (key == "discover" and value)]
    if strange:
        raise _wrong(url, f"no option {strange[0]!r}; there are listen=[host]:port and discover")
    keys = [key for key, _ in pairs]
    return [place for key, value in pairs if key == "listen" for place in value.split(",")], "discover" in keys


def _wrong(url: str, reason: str) -> errors.SettingsError:
    return errors.SettingsError(f"direct link {url!r}: {reason}")


def check_folder(folder: Path) -> None:
    """Makes it for this user alone; SettingsError if others may look into it: who may open a socket in it is a
    member."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as problem:
        raise errors.SettingsError(f"box://{folder}: {problem.strerror}; choose another folder") from problem
    if stat.S_IMODE(mode) & 0o077:
        raise errors.SettingsError(f"box://{folder}: others of this machine may enter it; chmod 700 {folder}")


def _address(scheme: str, place: str) -> Address:
    url = f"{scheme}://{place}"
    if lacking := address.brackets(scheme, place):
        raise _wrong(url, lacking)
    try:
        parts = urllib.parse.urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError as problem:
        raise _wrong(url, str(problem)) from problem
    if parts.username is not None:
        raise _wrong(url, "no user here; members show a certificate, with zenohs://")
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment or port == 0:
        raise _wrong(url, f"expected {scheme}://host[:port]")
    return Address(host, port or _PORT, tls=scheme == "zenohs")


def _is_group(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False
