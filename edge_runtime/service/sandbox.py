"""What the service can see and read: what every user may, except home and temporary folders.

Each function returns what is wrong, in words, or None. `root` stands for `/`.
"""

import stat
from pathlib import Path

from edge_runtime.service import unit

# The folders that ProtectHome= and PrivateTmp= replace by empty ones.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - nothing is written there


def hidden(path: Path) -> str | None:
    for place in _HIDDEN:
        if path.is_relative_to(place):
            return f"{path} is below {place}, which the service does not see: move it, to /opt or /srv for example"
    return None


def unreadable(path: Path, root: Path = Path("/")) -> str | None:
    """Why the service, which runs as a user of its own, cannot read a file, or all of a folder."""
    if problem := hidden(path):
        return problem
    there = _below(root, path)
    try:
        real = there.resolve(strict=True)
    except OSError as cause:
        where = "here" if root == Path("/") else f"below {root}"
        return f"{path} cannot be found {where} ({cause.strerror}): put it there, or give the path that it has there"
    if root == Path("/") and (problem := hidden(real)):
        return problem
    for folder in real.parents:
        if folder.is_relative_to(root) and not folder.stat().st_mode & stat.S_IXOTH:
            return f"{path}: {folder} lets nobody else in; the service is a user of its own: chmod o+x {folder}"
    shut = next((one for one in (real, *real.rglob("*")) if not _is_open(one)), None)
    return f"{shut} is not readable for the service, a user of its own: chmod -R o+rX {path}" if shut else None


def unwritable(path: Path, name: str) -> str | None:
    """Why the service of that name cannot write to `path`."""
    state = unit.STATE / name
    if path.is_relative_to(state):
        return None
    return f"{path}: the service may write below {state} only; give a path there"


def unexecutable(program: Path, root: Path = Path("/")) -> str | None:
    """Why the service cannot run a program; for a script its interpreter is checked too."""
    if problem := unreadable(program, root):
        return problem if hidden(program) else f"the service's program {problem}, with --executable"
    there = _below(root, program)
    if not there.stat().st_mode & stat.S_IXOTH:
        return f"{program} is not executable for the service: chmod o+x {program}"
    with there.open("rb") as stream:
        line = stream.readline(4096)
    if not line.startswith(b"#!"):
        return None
    interpreter = Path(line[2:].decode("utf-8", "replace").strip().partition(" ")[0])
    if not interpreter.is_absolute():
        return f"the first line of {program} names no program by its whole path; give another --executable"
    problem = unreadable(interpreter, root)
    return f"the interpreter of {program}: {problem}" if problem else None


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _is_open(path: Path) -> bool:
    if path.is_symlink():
        return True
    mode = path.stat().st_mode
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & needed == needed
