"""The kernel's calls for giving up rights, which Python has no names for."""

import ctypes
import os
import platform
import sys
from typing import Any

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38


def machine() -> str:
    """The processor's name as system calls are numbered for; "" where they are for no 64-bit Linux that we know."""
    name = platform.machine()
    is_known = sys.platform == "linux" and sys.maxsize > 2**32 and name in ("x86_64", "aarch64")
    return name if is_known else ""


def call(number: int, *arguments: Any) -> int:
    """A system call by its number; OSError with its reason where it fails."""
    return _checked(_libc().syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: Any) -> int:
    """OSError with the reason where it fails."""
    padded = [*arguments, *(ctypes.c_ulong(0),) * (4 - len(arguments))]
    return _checked(_libc().prctl(ctypes.c_int(option), *padded))


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
