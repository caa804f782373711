"""Landlock: what of the file system a process may reach, whoever it runs as (docs.kernel.org/userspace-api/landlock).

Not only files: where the kernel is new enough, connections by TCP and signals to other processes are taken too. From
the first version on, a confined process cannot trace processes outside, nor open their memory.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tflsplit.confinement import kernel

# The same numbers on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_QUERY_VERSION, _PATH_BENEATH = 1, 1

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
# Devices, sockets and pipes are made nowhere, programs run nowhere.
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE, _MAKE_LINK, _MOVE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12, 1 << 13
_READ = _READ_FILE | _READ_DIR
_CHANGE = _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _MAKE_LINK | _MOVE
_OF_A_FILE = _READ_FILE | _WRITE_FILE | _TRUNCATE
# What each version brought that a process can be denied: bits of files, of TCP, and of what lies outside the process.
_FILE_BITS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TCP_BITS, _SCOPE_BITS = {4: 0b11}, {6: 0b11}


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scope", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """0 where this kernel has no Landlock, or it was switched off at boot or by a container."""
    try:
        return kernel.call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_QUERY_VERSION))
    except OSError:
        return 0


def restrict(*, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """From here on this thread and those it starts reach these files and folders only; others look like a want of
    rights. `readable` that do not exist are left out. OSError where the kernel has no Landlock."""
    newest = version()
    files, tcp, scope = (_handled(bits, newest) for bits in (_FILE_BITS, _TCP_BITS, _SCOPE_BITS))
    asked = _Ruleset(files, tcp, scope)
    size = 8 if newest < 4 else 16 if newest < 6 else 24  # older kernels know fewer fields
    ruleset = kernel.call(_CREATE_RULESET, ctypes.byref(asked), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for places, rights in ((readable, _READ), (writable, _READ | _CHANGE)):
            for place in places:
                _allow(ruleset, place, rights & files)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
        kernel.call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _handled(bits: dict[int, int], newest: int) -> int:
    return sum(bit for since, bit in bits.items() if since <= newest)


def _allow(ruleset: int, place: Path, rights: int) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # a path of Python's that is not there, or that we may not read either
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_A_FILE
        rule = _PathBeneath(rights, descriptor)
        kernel.call(
            _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0)
        )
    finally:
        os.close(descriptor)
