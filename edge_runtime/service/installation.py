"""Installs and removes the service of an edge or a cloud: its systemd unit, and a udev rule for an Edge TPU.

A file is written completely or not at all. Only files that `tflsplit install-service` wrote are replaced or removed.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_runtime.service import credentials, permissions, sandbox, unit
from edge_runtime.service.unit import Access
from edge_runtime.sources import words
from tflsplit import errors
from tflsplit.values.classes import dataclass

UNITS = Path("etc/systemd/system")
RULES = Path("etc/udev/rules.d")

# Every file that we write begins with it; the rest of the line may change from version to version.
MARK = "# Written by `tflsplit install-service`"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")


@dataclass(frozen=True, slots=True)
class Run:
    """What is run: an edge, a cloud, or one stream of several. `secrets` are the options that name a file, or a folder
    of files, that only root may read. A cloud has neither accelerator nor source. One that `is_bounded` ends by
    itself."""

    accelerator: str | None
    source: str | None
    secrets: Mapping[str, Path]
    is_bounded: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The service to install. `reads` and `writes` are all files beside secrets that the configuration names. Where it
    `has_streams`, each of `runs` is one of them. `root` stands for `/`."""

    name: str
    config: Path
    executable: Path
    runs: Sequence[Run]
    has_streams: bool = False
    reads: Sequence[Path] = ()
    writes: Sequence[Path] = ()
    devices: Sequence[Path] = ()
    stop_s: int = 45
    root: Path = Path("/")
    role: str = "edge"

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True, slots=True)
class Change:
    """A file and its new contents; None removes it."""

    path: Path
    text: str | None


def check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise errors.SettingsError(f"service name {name!r}: give small letters, digits and dashes")


def plan(wanted: Wanted) -> tuple[Change, ...]:
    """The files to write; ConfigurationError lists every reason why the service would not run."""
    problems = _problems(wanted)
    rules = _rules_name(wanted.name)
    given = Access()
    try:
        for run in wanted.runs:
            named = (run.accelerator or "cpu", run.source or "", wanted.devices)
            given = given.beside(permissions.needed(*named, rules=rules, root=wanted.root))
    except errors.TflsplitError as refused:
        problems.append(str(refused))
    if wanted.has_streams:
        loaded = credentials.of_streams([place for run in wanted.runs for place in run.secrets.values()], wanted.root)
    else:
        loaded = credentials.of(wanted.runs[0].secrets, wanted.root)
    problems += loaded.problems
    if problems:
        raise errors.ConfigurationError(tuple(problems))
    text = unit.render(
        unit.Service(
            name=wanted.name,
            config=wanted.config,
            command=(str(wanted.executable), wanted.role, "--config", str(wanted.config)),
            role=wanted.role,
            access=given,
            credentials=loaded.credentials,
            credential_options=loaded.options,
            is_bounded=all(run.is_bounded for run in wanted.runs),
            stop_s=wanted.stop_s,
        )
    )
    rule = permissions.udev_rules(given, rules=rules, root=wanted.root)
    return (
        Change(wanted.root / UNITS / f"{wanted.name}.service", text),
        Change(wanted.root / RULES / rules, f"{MARK}: lets the service at its Edge TPU.\n{rule}" if rule else None),
    )


def removal(name: str, root: Path = Path("/")) -> tuple[Change, ...]:
    check_name(name)
    files = (root / UNITS / f"{name}.service", root / RULES / _rules_name(name))
    return tuple(Change(file, None) for file in files)


def pending(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes that are not made yet; SettingsError if a file in the way was not written by us."""
    found = []
    for change in changes:
        there = _text(change.path)
        if there is not None and not there.startswith(MARK):
            raise errors.SettingsError(
                f"{change.path}: not written by `tflsplit install-service`; move it away, or give another --name"
            )
        if there != change.text:
            found.append(change)
    return tuple(found)


def check_rights(root: Path = Path("/")) -> None:
    """DeviceError where only root may install; below another folder that is up to its rights."""
    if root == Path("/") and os.geteuid() != 0:
        raise errors.DeviceError(
            "installing or removing a service takes root: run this with sudo, or with --dry-run to see the files"
        )


def apply(changes: Sequence[Change]) -> None:
    for change in changes:
        try:
            if change.text is None:
                change.path.unlink()
            else:
                _write(change.path, change.text)
        except OSError as cause:
            raise errors.DeviceError(f"{change.path}: {cause.strerror}; this file is as it was") from cause


def has_systemd(root: Path = Path("/")) -> bool:
    """Whether systemd runs here, as sd_booted(3) tells."""
    return root == Path("/") and Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def enable(name: str, *, has_new_rules: bool) -> None:
    """Makes systemd, and udev, read the files that were written; from now on the service starts with the machine."""
    if has_new_rules:
        _call("udevadm", "control", "--reload-rules")
        _call("udevadm", "trigger")
    _call("systemctl", "daemon-reload")
    _call("systemctl", "enable", f"{name}.service")


def disable(name: str) -> None:
    """Stops the service, before its files are removed."""
    _call("systemctl", "disable", "--now", f"{name}.service")


def forget() -> None:
    """Makes systemd read its files again, after ours were removed."""
    _call("systemctl", "daemon-reload")


def _problems(wanted: Wanted) -> list[str]:
    files = [*wanted.reads, wanted.config, *_own_code(wanted)]
    found = [sandbox.unreadable(file, wanted.root) for file in files]
    found.append(sandbox.unexecutable(wanted.executable, wanted.root))
    found += [sandbox.unwritable(file, wanted.name) for file in wanted.writes]
    found += [
        f"source {run.source} ends, and the service would begin it again without end: give camera:N, "
        "watch:FOLDER or a camera's address, or a count after which the service is done"
        for run in wanted.runs
        if run.source is not None and words.parse(run.source).ends and not run.is_bounded
    ]
    return [problem for problem in dict.fromkeys(found) if problem]


def _own_code(wanted: Wanted) -> tuple[Path, ...]:
    """The folder of our code: of an editable installation it is in a checkout that the service may not see."""
    import tflsplit

    is_this_installation = wanted.root == Path("/") and wanted.executable.parent == executable().parent
    return (Path(str(tflsplit.__file__)).parent,) if is_this_installation else ()


def executable() -> Path:
    """The `tflsplit` of this installation."""
    import sysconfig

    return Path(sysconfig.get_path("scripts")) / "tflsplit"


def _rules_name(name: str) -> str:
    """Sorted after the rules of the library's own package, because udev lets the last rule win."""
    return f"99-{name}.rules"


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        raise errors.DeviceError(f"{path} cannot be read: {errors.one_line(cause)}") from cause


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise errors.DeviceError(f"`{' '.join(command)}` failed: {said}")
