"""Secret files, readable by root only, as systemd credentials: systemd loads them at the start of the service.

Where `systemd-creds encrypt` has written FILE.cred beside FILE, FILE.cred is used, and FILE itself need not exist.

systemd shows all of a service's in one folder. Those of several streams are told apart there by their paths.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edge_runtime.service.unit import Credential
from tflsplit.values.classes import dataclass, replace

_ENCRYPTED = ".cred"
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Loaded:
    """`options` are for the edge's command line: an option and the name of its credential, empty for the folder of all
    credentials."""

    credentials: tuple[Credential, ...]
    options: Mapping[str, str]
    problems: tuple[str, ...]


def of(secrets: Mapping[str, Path], root: Path = Path("/")) -> Loaded:
    """The credentials for `secrets`: options of the edge, each with a file or a folder of files."""
    found: dict[str, Credential] = {}
    options: dict[str, str] = {}
    problems = []
    for option, place in secrets.items():
        there = root / place.relative_to("/")
        if there.is_dir():
            found |= {one.name: one for one in _in_folder(place, there)}
            options[option] = ""
        elif there.is_file() or _encrypted(there).is_file():
            name = option.lstrip("-")
            is_encrypted = _encrypted(there).is_file()
            found[name] = Credential(name, _encrypted(place) if is_encrypted else place, is_encrypted)
            options[option] = name
        else:
            problems.append(f"{place} ({option}) is not there")
    return Loaded(tuple(found.values()), options, (*problems, *_not_nameable(found.values())))


def of_streams(places: Sequence[Path], root: Path = Path("/")) -> Loaded:
    """The credentials for files, and folders of files, that several streams name; the edge finds them by `shown`."""
    found: dict[Path, Credential] = {}
    problems = []
    for place in places:
        there = root / place.relative_to("/")
        if there.is_dir():
            held = [(place / one.name, one) for one in _in_folder(place, there)]
        elif there.is_file() or _encrypted(there).is_file():
            is_encrypted = _encrypted(there).is_file()
            held = [(place, Credential("", _encrypted(place) if is_encrypted else place, is_encrypted))]
        else:
            problems.append(f"{place} is not there")
            continue
        found |= {file: replace(one, name=_by_path(file)) for file, one in held}
    counts = Counter(one.name for one in found.values())
    problems += [
        f"credential {file}: systemd would show it as {one.name!r}, which is too long or another's name too; rename it"
        for file, one in found.items()
        if counts[one.name] > 1 or len(one.name) > _LONGEST_NAME
    ]
    return Loaded(tuple(found.values()), {}, (*problems, *_not_nameable(found.values())))


def shown(place: Path, scratch: Path) -> Path:
    """Where a stream finds a secret: where systemd shows it to this service, else at `place`. Of a folder's files a
    folder with their own names is made in `scratch`."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if not given:
        return place
    name = _by_path(place)
    if (Path(given) / name).is_file():
        return Path(given) / name
    held = {file.name.removeprefix(f"{name}-"): file for file in sorted(Path(given).glob(f"{glob.escape(name)}-*"))}
    if not held:
        return place
    folder = scratch / name
    folder.mkdir(exist_ok=True)
    for link, file in held.items():
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(file)
    return folder


def has_encrypted(place: Path) -> bool:
    """Whether a file, or any file in a folder, exists in encrypted form."""
    return _encrypted(place).is_file() or (place.is_dir() and any(place.glob(f"*{_ENCRYPTED}")))


def _by_path(file: Path) -> str:
    return "-".join(file.parts[1:])


def _not_nameable(found: Iterable[Credential]) -> list[str]:
    return [
        f"credential {one.file}: systemd takes no spaces nor colons in its name; rename it"
        for one in found
        if any(sign in str(one.file) for sign in " :\t\n")
    ]


def _in_folder(place: Path, there: Path) -> list[Credential]:
    """The encrypted ones last, so that they replace those of the same name."""
    names = (file.name for file in there.iterdir() if file.is_file())
    in_order = sorted(names, key=lambda name: (name.endswith(_ENCRYPTED), name))
    return [Credential(name.removesuffix(_ENCRYPTED), place / name, name.endswith(_ENCRYPTED)) for name in in_order]


def _encrypted(file: Path) -> Path:
    return file.with_name(file.name + _ENCRYPTED)
