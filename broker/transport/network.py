"""What a network does to whoever connects over it: nothing answers, or its addresses and routes change."""

import contextlib
import errno
import select
import socket

# What the kernel tells of links, addresses and routes (rtnetlink(7)); Python names neither the family's groups nor
# these numbers everywhere.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE

# A router's daemon may change routes faster than we read of it.
_MOST_READS = 1000

_SILENCE = {
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EADDRNOTAVAIL,
    errno.ETIMEDOUT,
}

# Of Linux since 6.15, which Python does not name yet: the longest wait, in ms, before a packet is sent again. TCP
# doubles it: a link that was dead for ten seconds would be used again seconds after it is back.
TCP_RTO_MAX_MS, RTO_MAX_MS = 44, 1_000


def is_silent(problem: BaseException | None) -> bool:
    """Whether nobody was reached: the name is unknown, the port is closed, the host is not there. Such an attempt costs
    no broker anything."""
    if isinstance(problem, TimeoutError) and problem.errno is None:
        return "handshake" not in str(problem)  # Python's own words: it was reached, and then too slow
    return isinstance(problem, socket.gaierror) or (isinstance(problem, OSError) and problem.errno in _SILENCE)


def patience(silence_s: float) -> dict[tuple[int, int], int]:
    """Options of a TCP socket, by level and name, with which the kernel ends a connection whose other end does not
    acknowledge for so long, while something is to be sent and while nothing is. Only those that this system has."""
    probe_s = max(1, round(silence_s / 3))
    wanted = {
        (socket.SOL_SOCKET, "SO_KEEPALIVE"): 1,
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE"): probe_s,
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL"): probe_s,
        (socket.IPPROTO_TCP, "TCP_KEEPCNT"): 3,
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"): round(silence_s * 1e3),
    }
    return {(level, getattr(socket, name)): value for (level, name), value in wanted.items() if hasattr(socket, name)}


class Changes:
    """Hears when addresses or routes of this machine change. Deaf where the system or a sandbox does not tell: waiting
    ends by its time then."""

    def __init__(self) -> None:
        self._told: socket.socket | None = None
        with contextlib.suppress(OSError, AttributeError):
            told = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            try:
                told.bind((0, _GROUPS))
                told.setblocking(False)
            except OSError:
                told.close()
                raise
            self._told = told

    def forget(self) -> None:
        """What was told until now."""
        told = self._told
        for _ in range(_MOST_READS):
            if told is None:
                return
            try:
                told.recv(1 << 16)
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:  # it told more than there was room for
                    return

    def wait(self, timeout_s: float, waker: socket.socket) -> None:
        """Until something changed or `waker` can be read, but no longer than `timeout_s`."""
        poll = select.poll()
        for each in filter(None, (self._told, waker)):
            poll.register(each, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def close(self) -> None:
        if self._told is not None:
            self._told.close()
            self._told = None
