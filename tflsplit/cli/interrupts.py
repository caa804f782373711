"""Ctrl-C at any moment ends the process with one line and exit code 130.

While modules are imported there is nothing to clean up, and the process ends at once. While a command runs Ctrl-C is a
KeyboardInterrupt, so that what was begun is cleaned up. Nothing heavy is imported here: until then Python would answer
Ctrl-C with a traceback.
"""

import _thread
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 128 + signal.SIGINT


class _Seen:
    is_interrupted = False


def end_at_once() -> None:
    """From now on Ctrl-C ends the process at once. A process that was started to ignore Ctrl-C goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def raised() -> Iterator[None]:
    """Within the block Ctrl-C is a KeyboardInterrupt, also if a library made another exception out of it."""
    _Seen.is_interrupted = False
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _raise)
    sys.unraisablehook = _unraisable
    try:
        yield
    except Exception as cause:
        if not _Seen.is_interrupted:
            raise
        raise KeyboardInterrupt from cause
    finally:
        end_at_once()


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, _words())
    os._exit(CODE)


def _words() -> bytes:
    """As `tflsplit.cli.output.logs` would have it, which may be half imported; it is said here without an import."""
    words = sys.argv
    if "--log-format=json" not in words and ("--log-format", "json") not in itertools.pairwise(words):
        return b"tflsplit: interrupted\n"
    now = time.time()
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}Z"
    told = f'"time": "{moment}", "level": "error", "logger": "tflsplit", "event": "refused", "reason": "interrupted"'
    return f"{{{told}}}\n".encode()


def _raise(_number: int, _frame: FrameType | None) -> None:
    _Seen.is_interrupted = True
    raise KeyboardInterrupt


def _unraisable(failed: "sys.UnraisableHookArgs") -> None:
    """Where Python would print and forget an interrupt, in a finaliser for example, it comes once more."""
    if failed.exc_type is KeyboardInterrupt:
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(failed)
