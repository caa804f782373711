"""What a process without rights is told to do in tests, by name: most of it must fail."""

import concurrent.futures
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping

import tiny_models

from tflsplit import errors

Say = Callable[[str], None]


def attempts(request: Mapping[str, str], say: Say) -> dict[str, str]:
    """Everything tried, and the class of the error it met, "done" without one."""
    outside, inside = pathlib.Path(request["outside"]), pathlib.Path(request["inside"])
    victim = outside / "victim"
    tried: dict[str, Callable[[], object]] = {
        "write": lambda: (outside / "new").write_text("x"),
        "change": lambda: victim.write_text("x"),
        "read": victim.read_text,
        "list": lambda: os.listdir(outside),
        "make a folder": (outside / "folder").mkdir,
        "remove": victim.unlink,
        "empty": lambda: os.truncate(victim, 0),
        "move in": lambda: victim.rename(inside / "moved"),
        "link in": lambda: os.link(victim, inside / "linked"),
        "write over a link": lambda: _write_over_a_link(inside / "link", outside / "new"),
        "mode": lambda: victim.chmod(0o777),
        "owner": lambda: os.chown(victim, 1, 1),
        "time": lambda: os.utime(victim),
        "attribute": lambda: os.setxattr(victim, "user.x", b"x"),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
        "socket": lambda: socket.socket(socket.AF_UNIX),
        "run": lambda: subprocess.run(["true"], check=False),
        "fork": os.fork,
        "signal": lambda: os.kill(os.getppid(), 0),
        "signal everybody": lambda: os.kill(-1, signal.SIGCONT),
        "environment": pathlib.Path(f"/proc/{os.getppid()}/environ").read_bytes,
        "memory": pathlib.Path(f"/proc/{os.getppid()}/mem").read_bytes,
        "trace": lambda: _trace(os.getppid()),
        "terminal": lambda: os.open("/dev/tty", os.O_RDWR),
    }
    return {name: _outcome(attempt) for name, attempt in tried.items()}


def allowed(request: Mapping[str, str], say: Say) -> dict[str, str]:
    inside = pathlib.Path(request["inside"])
    (inside / "folder").mkdir()
    tried: dict[str, Callable[[], object]] = {
        "write": lambda: (inside / "folder" / "new").write_text("x"),
        "move": lambda: (inside / "folder").rename(inside / "moved"),
        "discard": lambda: pathlib.Path("/dev/null").write_text("x"),
        "read what was given": pathlib.Path(request["given"]).read_text,
        "threads": lambda: concurrent.futures.ThreadPoolExecutor().submit(int).result(),
        "signal itself": lambda: os.kill(os.getpid(), 0),
    }
    return {name: _outcome(attempt) for name, attempt in tried.items()}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as refused:
        return type(refused).__name__
    return "done"


def _write_over_a_link(link: pathlib.Path, target: pathlib.Path) -> None:
    link.symlink_to(target)
    link.write_text("x")


def _trace(process: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, process, 0, 0) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")


def says(request: Mapping[str, str], say: Say) -> str:
    for word in ("one", "\x1b[2Jtwo\n"):
        say(word)
    return "three"


def refuses(request: Mapping[str, str], say: Say) -> None:
    raise errors.CutError("no such \x1b[2Jcut")


def has_a_bug(request: Mapping[str, str], say: Say) -> None:
    raise ZeroDivisionError("ours")


def lacks_a_library(request: Mapping[str, str], say: Say) -> None:
    raise ModuleNotFoundError("No module named 'keras'", name="keras")


def crashes(request: Mapping[str, str], say: Say) -> None:
    os.write(2, b"last \x1b[2Jwords\n")
    ctypes.string_at(0)


def hangs(request: Mapping[str, str], say: Say) -> None:
    while True:
        time.sleep(60)


def babbles(request: Mapping[str, str], say: Say) -> None:
    """Writes to the descriptor of the answers what is no answer; only the parent can tell it apart."""
    for name in os.listdir("/proc/self/fd"):
        if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
            os.write(int(name), request["babble"].encode())


def writes_nothing(request: Mapping[str, str], say: Say) -> None:
    pass


def writes_another_package(request: Mapping[str, str], say: Say) -> None:
    tiny_models.write_package(pathlib.Path(request["destination"]), tiny_models.residual_model())


def writes_a_link(request: Mapping[str, str], say: Say) -> None:
    writes_another_package(request, say)
    model = pathlib.Path(request["destination"]) / "model.tflite"
    model.unlink()
    model.symlink_to("/etc/passwd")


def crashes_at_a_model(request: Mapping[str, str], say: Say) -> None:
    say(request["models"][0])
    crashes(request, say)


def crashes_at_an_operator(request: Mapping[str, str], say: Say) -> None:
    say("operator 0 (ADD)")
    say("operator 1 (SVDF)")
    crashes(request, say)


def names_models_without_end(request: Mapping[str, str], say: Say) -> None:
    while True:
        say("another.tflite")
