"""Delays packets on kernels without netem: a packet that enters one of two TUN devices leaves the other one later.

Whole IP packets are delayed, so that TCP's own round trips are as long as the link's.
"""

import contextlib
import fcntl
import os
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tflsplit import errors

DEVICE = Path("/dev/net/tun")
# From linux/if_tun.h: make an interface with a name, for IP packets without a TUN header.
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
# More than any packet of an interface whose MTU is 1,500.
_PACKET_BYTES = 2048


class DelayLine:
    """`refused` counts packets that an interface refused because it was down."""

    def __init__(self, ends: tuple[int, int], delay_s: float) -> None:
        self._delay_s = delay_s
        self._stop, self._stopped = os.pipe()
        self.refused = 0
        ways = (ends, ends[::-1])
        self._threads = [threading.Thread(target=self._carry, args=way, name="delay-line") for way in ways]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        os.close(self._stopped)
        for thread in self._threads:
            thread.join()
        os.close(self._stop)

    def _carry(self, source: int, sink: int) -> None:
        """One direction, until the end."""
        waiting: deque[tuple[float, bytes]] = deque()
        while True:
            wait_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([source, self._stop], [], [], wait_s)
            if self._stop in ready:
                return
            if source in ready:
                waiting.append((time.monotonic() + self._delay_s, os.read(source, _PACKET_BYTES)))
            while waiting and waiting[0][0] <= time.monotonic():
                self._put(sink, waiting.popleft()[1])

    def _put(self, sink: int, packet: bytes) -> None:
        try:
            os.write(sink, packet)
        except OSError:
            self.refused += 1


@contextlib.contextmanager
def between(names: tuple[str, str], delay_s: float) -> Iterator[DelayLine]:
    """Two interfaces with these names in our network namespace, from where they may be moved; they end with the block
    or this process. DeviceError if the kernel has no TUN."""
    with contextlib.ExitStack() as stack:
        near, far = (_opened(name, stack) for name in names)
        line = DelayLine((near, far), delay_s)
        stack.callback(line.close)
        yield line


def _opened(name: str, stack: contextlib.ExitStack) -> int:
    try:
        made = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, made)
        fcntl.ioctl(made, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as cause:
        raise errors.DeviceError(
            f"a delay needs netem or TUN, and this kernel has no netem and {DEVICE} fails ({cause.strerror}); "
            "load sch_netem or tun, or replay over the relay"
        ) from cause
    return made
