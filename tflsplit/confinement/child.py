"""Runs a function of ours in a process without rights, and believes what comes back only as far as it is text.

The process is told what to do in one JSON document, and answers in lines of JSON; files it leaves in its folder are for
the caller to check. Whatever ends it, its caller goes on.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tflsplit import errors
from tflsplit.confinement import kernel, rights

Say = Callable[[str], None]
Task = Callable[[Mapping[str, Any], Say], Any]

_LONGEST_LINE = 1 << 20
# Isolated from the environment and the working directory, then with our own search path: it finds what we find.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tflsplit.confinement import child; child.main()"


class CrashedError(Exception):
    """The process ended without an answer; `str()` says how, for callers to put a name before it."""


class BugError(Exception):
    """A fault of ours in the process; its traceback is the message."""


def run(
    task: Task,
    request: Mapping[str, Any],
    *,
    folder: Path | None,
    readable: Iterable[Path] = (),
    on_word: Say = lambda words: None,
    timeout_s: float | None = None,
    most_bytes: int | None = None,
) -> Any:
    """What `task(request, say)` returns in a process that can write to `folder` only, or nowhere without one; request
    and answer are JSON.

    `task` is a module's function. `on_word` is told what it says. Raises what it raises of ours with the same words,
    CrashedError where it ends without an answer or says nothing for `timeout_s`, BugError for a bug. The process is
    ended by what `on_word` raises, and gets no more memory than `most_bytes`.
    """
    order = {
        "task": [task.__module__, task.__qualname__],
        "request": request,
        "writable": [] if folder is None else [str(folder.resolve())],
        "most_bytes": resource.RLIM_INFINITY if most_bytes is None else most_bytes,
        "readable": [str(place.absolute()) for place in (*rights.libraries(), *readable)],
    }
    # In memory: a machine may have no folder for temporary files.
    memory = os.fdopen(os.memfd_create("complaints"), "w+b")
    with memory as complaints, _started(order, folder, complaints) as (process, answers):
        with _Patience(process, timeout_s) as patience:

            def hear(words: str) -> None:
                patience.begin()
                on_word(words)

            said = _last_word(answers, hear)
            if said is None:
                process.kill()  # or it goes on, unheard
            process.wait()
        if said is None:
            late = f"did not end within {timeout_s:g} s" if timeout_s else ""
            raise CrashedError(late if patience.is_over else _end(process.returncode, complaints))
    return _value(said)


class _Patience:
    """Kills the process when it has said nothing for `timeout_s`; for ever where that is None."""

    def __init__(self, process: Any, timeout_s: float | None) -> None:
        self.is_over = False
        self._process = process
        self._timeout_s = timeout_s
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """The time runs from now."""
        self._cancel()
        if self._timeout_s is not None:
            self._timer = threading.Timer(self._timeout_s, self._end)
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> "_Patience":
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        self._process.kill()


@contextmanager
def _started(order: Mapping[str, Any], folder: Path | None, complaints: IO[bytes]) -> Iterator[tuple[Any, IO[bytes]]]:
    home = os.devnull if folder is None else str(folder.resolve())
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", _START, json.dumps(sys.path), str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
        pass_fds=(writing,),
        # Libraries keep settings and temporary files at home, where the process has no business.
        env={**os.environ, **dict.fromkeys(("TMPDIR", "HOME", "KERAS_HOME", "XDG_CACHE_HOME"), home)},
        start_new_session=True,  # no terminal
    )
    os.close(writing)
    with process, os.fdopen(reading, "rb") as answers:
        try:
            assert process.stdin is not None  # noqa: S101 - for the type checker
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(order).encode())
            yield process, answers
        finally:
            process.kill()


def _last_word(answers: IO[bytes], on_word: Say) -> dict[str, Any] | None:
    """The line that ends the conversation, None where the process ends before it or says what we do not understand."""
    while line := answers.readline(_LONGEST_LINE):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict):
            return None
        if "word" not in said:
            return said
        on_word(_shown(said["word"]))
    return None


def _shown(text: Any) -> str:
    """Text of the process, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def _end(status: int, complaints: IO[bytes]) -> str:
    how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 2000))
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    return f"{how}: {_shown(lines[-1])}" if lines else how


def _value(said: dict[str, Any]) -> Any:
    """The answer, or the error that came in place of one."""
    kind, text = str(said.get("error")), _shown(said.get("text"))
    if "answer" in said:
        return said["answer"]
    if "missing" in said:
        raise ModuleNotFoundError(text, name=_shown(said["missing"]))
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, errors.TflsplitError) and ours is not errors.ConfigurationError:
        raise ours(text)
    raise BugError(str(said.get("bug")))


def main() -> None:
    """The process: takes its order from stdin, gives up its rights, does it."""
    order = json.load(sys.stdin)
    descriptor = int(sys.argv[2])
    kernel.prctl(kernel.PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most_bytes = order["most_bytes"]
    if most_bytes != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))
    readable, writable = ([Path(place) for place in order[kind]] for kind in ("readable", "writable"))
    rights.restrict(readable=readable, writable=writable)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:

        def tell(**said: Any) -> None:
            stream.write(json.dumps(said) + "\n")
            stream.flush()

        module, name = order["task"]
        try:
            task = getattr(importlib.import_module(module), name)
            tell(answer=task(order["request"], lambda words: tell(word=words)))
        except errors.TflsplitError as refused:
            tell(error=type(refused).__name__, text=str(refused))
        except ModuleNotFoundError as absent:
            tell(missing=absent.name, text=str(absent))
        except Exception:  # noqa: BLE001 - a bug is shown where it can be seen
            tell(bug=traceback.format_exc())
    os._exit(0)  # all is said; TensorFlow would take a second to leave in order
