"""Runs `edgetpu_compiler`, which is unreliable: in a child process, with a time limit, and once more if it fails.

It is closed source, runs on x86-64 Linux only, may hang, crash, fail without a reason, succeed without writing a file,
and succeed at the second try with the same file. Whatever happens becomes an `Outcome`; only a compiler that cannot be
started at all is an error.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.edgetpu import log, rules
from converters.edgetpu.log import Failure, Log, ModelLog
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.values.classes import dataclass

PROGRAM = "edgetpu_compiler"
TIMEOUT_S = 180.0  # the compiler's own default
ATTEMPTS = 2
_VERSION_TIMEOUT_S = 60.0  # a container may have to be fetched or started first
_GRACE_S = 2.0  # between SIGTERM and SIGKILL to the process group; a container needs the SIGTERM to stop
_TIMED_VERSION = 16  # the first version that has -t and its timer


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler and the version it printed. `command` is an argument list; `{dir}` in it is the working directory."""

    command: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one model: the compiled file, or the reason why there is none. `text` is all that was printed."""

    data: bytes | None
    reason: str | None
    text: str
    log: ModelLog | None = None
    seconds: float | None = None


def find(command: str | None) -> Compiler | None:
    """The compiler that `command` starts (a path, or `docker run …`), by default that on PATH; None if none is there.

    Raises SettingsError where a command was given and is no Edge TPU compiler.
    """
    parts = tuple(shlex.split(command)) if command is not None else (PROGRAM,)
    if command is None and shutil.which(PROGRAM) is None:
        return None
    if not parts:
        raise errors.SettingsError("--compiler is empty; give a path or a command such as 'docker run …'")
    parts = (_program(parts[0]), *parts[1:])
    with tempfile.TemporaryDirectory(prefix="tflsplit-edgetpu-") as scratch:
        ran = _run(_command(parts, Path(scratch), ["--version"]), Path(scratch), _VERSION_TIMEOUT_S)
    version = log.version(ran.text)
    if version is None:
        answer = " ".join(ran.text.split())[:200] or "nothing"
        raise errors.SettingsError(
            f"{shlex.join(parts)}: not an Edge TPU compiler; asked for its version, it says {answer}"
        )
    return Compiler(parts, version)


def _program(given: str) -> str:
    """An absolute path: the compiler is started in a directory of its own."""
    return os.path.abspath(os.path.expanduser(given)) if os.sep in given else given


def compile_models(
    compiler: Compiler, models: Mapping[str, bytes], *, timeout_s: float = TIMEOUT_S
) -> dict[str, Outcome]:
    """Compile models by name in one run; several share the on-chip memory in this order.

    A run that fails is tried once more, unless its message blames the model.
    """
    outcomes: dict[str, Outcome] = {}
    for _ in range(ATTEMPTS):
        outcomes, is_final = _attempt(compiler, models, timeout_s)
        if is_final:
            break
    return outcomes


def _attempt(compiler: Compiler, models: Mapping[str, bytes], timeout_s: float) -> tuple[dict[str, Outcome], bool]:
    with tempfile.TemporaryDirectory(prefix="tflsplit-edgetpu-") as name:
        scratch = Path(name)
        for model, data in models.items():
            (scratch / f"{model}.tflite").write_bytes(data)
        arguments = ["-s", "-o", "."]
        if int(compiler.version.split(".")[0]) >= _TIMED_VERSION:
            arguments += ["-t", str(max(1, round(timeout_s)))]
        files = [f"{model}.tflite" for model in models]
        ran = _run(_command(compiler.command, scratch, [*arguments, *files]), scratch, timeout_s)
        parsed = log.parse(ran.text)
        outcomes = {model: _outcome(scratch, model, ran, parsed) for model in models}
    failure = _failure(ran)
    failed = any(outcome.data is None for outcome in outcomes.values())
    return outcomes, not failed or (failure is not None and failure.is_final) or _mapped_nothing(outcomes)


@dataclass(frozen=True, slots=True)
class _Ran:
    """A finished child process. `exit_code` is None where it ran out of time."""

    text: str
    exit_code: int | None
    timeout_s: float


def _command(parts: Sequence[str], scratch: Path, arguments: Sequence[str]) -> list[str]:
    return [*(part.replace("{dir}", str(scratch)) for part in parts), *arguments]


def _run(command: Sequence[str], folder: Path, timeout_s: float) -> _Ran:
    """Its output goes to a file, which survives a hang and a grandchild that keeps a pipe open."""
    output = folder / ".output"
    try:
        with output.open("wb") as stream:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as cause:
        raise errors.SettingsError(f"{command[0]}: cannot be started ({cause.strerror}); see --compiler") from cause
    try:
        exit_code: int | None = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        exit_code = None
    finally:
        _stop(child)
    return _Ran(output.read_text("utf-8", "replace"), exit_code, timeout_s)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """End what is left of the child's process group: the compiler works in a child process of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def _outcome(scratch: Path, model: str, ran: _Ran, parsed: Log) -> Outcome:
    part = next((part for part in parsed.models if part.model in (f"{model}.tflite", "")), None)
    seconds = None if parsed.milliseconds is None else parsed.milliseconds / 1000
    data, table = _read(scratch / f"{model}_edgetpu.tflite"), _read(scratch / f"{model}_edgetpu.log")
    if part is not None and not part.operators and table is not None:
        part = log.with_operators(part, log.operators(table.decode("utf-8", "replace")))
    if ran.exit_code == 0 and data is not None and _is_compiled(data):
        return Outcome(data, None, ran.text, part, seconds)
    return Outcome(None, _reason(ran, data), ran.text, part, seconds)


def _reason(ran: _Ran, data: bytes | None) -> str:
    failure = _failure(ran)
    if failure is not None:
        return failure.reason
    if data is not None and ran.exit_code == 0:
        return _MAPS_NOTHING
    if ran.exit_code is not None and ran.exit_code < 0:
        return f"the compiler crashed ({signal.Signals(-ran.exit_code).name})"
    if ran.exit_code:
        last = (ran.text.strip().splitlines() or ["no message"])[-1]
        return f"the compiler ended with exit code {ran.exit_code}: {last.strip()[:200]}"
    return "the compiler ended well but wrote nothing"


_MAPS_NOTHING = "it compiled, but no operator maps to the Edge TPU; see `tflsplit inspect --target coral`"


def _failure(ran: _Ran) -> Failure | None:
    if ran.exit_code is None:
        return Failure(f"no end within {ran.timeout_s:g} s; raise --timeout, or cut earlier", is_final=False)
    return log.failure(ran.text)


def _mapped_nothing(outcomes: Mapping[str, Outcome]) -> bool:
    return any(outcome.reason == _MAPS_NOTHING for outcome in outcomes.values())


def _is_compiled(data: bytes) -> bool:
    try:
        return rules.is_compiled(flatgraph.read(data))
    except errors.ModelError:
        return False


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
