"""Secret files, readable by root only, as systemd credentials: systemd loads them at the start of the service.

Where `systemd-creds encrypt` has written FILE.cred beside FILE, FILE.cred is used, and FILE itself need not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.service.unit import Credential

_ENCRYPTED = ".cred"


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
    problems += [
        f"credential {one.file}: systemd takes no spaces nor colons in its name; rename it"
        for one in found.values()
        if any(sign in str(one.file) for sign in " :\t\n")
    ]
    return Loaded(tuple(found.values()), options, tuple(problems))


def has_encrypted(place: Path) -> bool:
    """Whether a file, or any file in a folder, exists in encrypted form."""
    return _encrypted(place).is_file() or (place.is_dir() and any(place.glob(f"*{_ENCRYPTED}")))


def _in_folder(place: Path, there: Path) -> list[Credential]:
    """The encrypted ones last, so that they replace those of the same name."""
    names = (file.name for file in there.iterdir() if file.is_file())
    in_order = sorted(names, key=lambda name: (name.endswith(_ENCRYPTED), name))
    return [Credential(name.removesuffix(_ENCRYPTED), place / name, name.endswith(_ENCRYPTED)) for name in in_order]


def _encrypted(file: Path) -> Path:
    return file.with_name(file.name + _ENCRYPTED)
