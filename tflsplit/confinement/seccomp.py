"""Seccomp: which calls of the kernel a process may make (docs.kernel.org/userspace-api/seccomp_filter).

A filter cannot look at paths, so files are Landlock's matter, but for changing their owner, mode, time and attributes,
which Landlock leaves alone. Refused here beside: connections of any kind, other programs and processes, other
processes' memory, signals to them, and parts of the kernel that a computation has no business with.
"""

import ctypes
import errno
import os

from tflsplit.confinement import kernel

# Numbers of system calls, x86_64 and aarch64 (asm/unistd.h); from 424 on they are the same everywhere.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "truncate": (76, 45),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "setpriority": (141, 140),
}  # fmt: skip - a table
# Of these only calls that concern the process itself: its first argument is the process, 0 stands for its own.
_ON_ITSELF = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261)}
_CLONE, _CLONE3, _IOCTL = (56, 220), (435, 435), (16, 29)
_CLONE_THREAD = 0x10000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # put words into a terminal, as if somebody had typed them
# Calls of later kernels look like calls that are not there, whatever they do. 462 (mseal) is the last that was read.
_LAST_KNOWN = 462

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # offsets in seccomp_data; of arguments the lower halves
_ALLOW, _REFUSE, _MODE_FILTER = 0x7FFF0000, 0x00050000, 2

Instruction = tuple[int, int, int, int]


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


def is_there() -> bool:
    """Whether this kernel takes filters, and we know its numbers."""
    if not kernel.machine():
        return False
    try:
        kernel.prctl(kernel.PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.c_void_p(None))
    except OSError as refused:
        return refused.errno == errno.EFAULT  # it looked for the filter
    return False


def restrict() -> None:
    """Takes the calls above from this thread and those it starts; OSError where the kernel has no filters."""
    program = _program(kernel.machine(), os.getpid())
    filters = (_Filter * len(program))(*(_Filter(*instruction) for instruction in program))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
    passed = _Program(len(program), filters)
    kernel.prctl(kernel.PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(passed))


def _program(machine: str, pid: int) -> list[Instruction]:
    """Jumps are counted in instructions from the next one, so each test stands right before what it decides."""
    column = 0 if machine == "x86_64" else 1
    denied, absent = _return(_REFUSE | errno.EPERM), _return(_REFUSE | errno.ENOSYS)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCHITECTURE[machine]),
        denied,  # a 32-bit call has other numbers
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, _LAST_KNOWN),  # x32 calls too, whose numbers begin at 2**30
        absent,
        (_EQUAL, 0, 1, _CLONE3[column]),  # its flags lie in memory; libraries take `clone` where it is absent
        absent,
    ]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [(_EQUAL, 0, 1, number), denied]
    program += [(_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 1, 0, _CLONE_THREAD), denied]
    program += [_return(_ALLOW)]
    for both in _ON_ITSELF.values():
        program += [(_EQUAL, 0, 5, both[column]), (_LOAD, 0, 0, _FIRST), (_EQUAL, 2, 0, pid), (_EQUAL, 1, 0, 0)]
        program += [denied, _return(_ALLOW)]
    program += [(_EQUAL, 0, 4, _IOCTL[column]), (_LOAD, 0, 0, _SECOND)]
    program += [(_EQUAL, 1, 0, _TIOCSTI), (_EQUAL, 0, 1, _TIOCLINUX), denied]
    return [*program, _return(_ALLOW)]


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)
