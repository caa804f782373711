"""What a rest costs a connection: messages at a pace over a long link, measured with the kernel's TCP and predicted.

Two network namespaces with a TUN device each, and between them a relay of ours that delays whole packets: unlike a
relay of TCP it leaves slow start as it is. Cubic, Linux's default, over 50 Mbit/s. What Cubic has learnt of the link
before (its threshold, where slow start ends) is not predicted, and may cost rounds more. Skipped without root or
/dev/net/tun.
"""

import contextlib
import fcntl
import json
import os
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import harness
from harness import Outcome, Samples, Table

from tflsplit.planning import network
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin

ROUND_TRIPS_S = (0.04, 0.1)
BANDWIDTH_BPS = 50e6
SIZES, GAPS_S = (10_000, 60_000, 150_000), (1.0, 2.0)
# The first messages at a pace find the window that the pace before left.
FRAMES, _SETTLING = 6, 2
LIMIT = 0.10
_TUNSETIFF, _TUN_NO_INFO = 0x400454CA, 0x1001
_NEAR, _FAR, _PORT = "192.0.2.1", "192.0.2.2", 9000  # RFC 5737
_SERVER = f"""
import socket
with socket.create_server(("{_FAR}", {_PORT})) as server:
    print("ready", flush=True)
    peer, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while len(head := peer.recv(4, socket.MSG_WAITALL)) == 4:
        left = int.from_bytes(head, "big")
        while left:
            left -= len(peer.recv(min(left, 65536)))
        peer.sendall(b"x")
"""
_CLIENT = f"""
import json, socket, sys, time
peer = socket.socket()
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
peer.connect(("{_FAR}", {_PORT}))
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
found = []
for size, gap_s, count in json.loads(sys.argv[1]):
    seconds = []
    for _ in range(count):
        began_s = time.monotonic()
        peer.sendall(size.to_bytes(4, "big") + bytes(size))
        peer.recv(1)
        seconds.append(time.monotonic() - began_s)
        time.sleep(max(0.0, gap_s - seconds[-1]))
    found.append(seconds)
print(json.dumps(found))
"""


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise harness.SkippedError("needs root and /dev/net/tun")
    cases = [(size, gap_s) for gap_s in GAPS_S for size in SIZES]
    rows, errors, steady = [], [], []
    for rtt_s in ROUND_TRIPS_S[1:] if is_quick else ROUND_TRIPS_S:
        link = Link("far", Origin.STATED, BANDWIDTH_BPS, rtt_s)
        for (size, gap_s), seconds in zip(cases, _measured(link, cases), strict=True):
            measured_s = statistics.median(seconds[_SETTLING:])
            steady_s = rtt_s + network.sending(link, size).p50_s
            predicted_s = steady_s + network.warming_up(link, size, 1 / gap_s).p50_s
            errors.append(abs(predicted_s / measured_s - 1))
            steady.append(abs(steady_s / measured_s - 1))
            shown = (steady_s, predicted_s, measured_s)
            rows.append((f"{rtt_s * 1e3:g}", f"{size:,}", f"{gap_s:g}", *(f"{one * 1e3:.1f}" for one in shown)))
    columns = ("round trip ms", "bytes", "one every s", "steady ms", "predicted ms", "measured ms")
    return [
        Outcome(
            "error of a paced message's predicted time, median",
            Samples("|predicted / measured - 1|", "%", (statistics.median(errors),)),
            harness.limit(LIMIT, "%"),
            1.0,
            note=f"largest {max(errors):.0%}; without the wait for the window, median {statistics.median(steady):.0%}",
        ),
        Table("messages at a pace over 50 Mbit/s", columns, tuple(rows)),
    ]


def _measured(link: Link, cases: list[tuple[int, float]]) -> list[list[float]]:
    with _tunnel(link) as (near, far):
        command = ["ip", "netns", "exec", far, sys.executable, "-c", _SERVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            server.stdout.readline()
            plan = json.dumps([(size, gap_s, FRAMES) for size, gap_s in cases])
            command = ["ip", "netns", "exec", near, sys.executable, "-c", _CLIENT, plan]
            return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@contextlib.contextmanager
def _tunnel(link: Link) -> Iterator[tuple[str, str]]:
    """Names of two namespaces, `_NEAR` in one and `_FAR` in the other."""
    names = [f"tflsplit-tun{side}-{os.getpid()}" for side in range(2)]
    with contextlib.ExitStack() as stack:
        devices = [_device(stack, name, f"tft{side}{os.getpid() % 10**7}") for side, name in enumerate(names)]
        for inside, outside in (devices, devices[::-1]):
            queue: deque[tuple[float, bytes]] = deque()
            arrived = threading.Semaphore(0)
            for work in (_take, _give):
                threading.Thread(target=work, args=(inside, outside, queue, arrived, link), daemon=True).start()
        yield names[0], names[1]


def _device(stack: contextlib.ExitStack, name: str, device: str) -> int:
    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    stack.callback(ip, "netns", "del", name)
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", device.encode(), _TUN_NO_INFO))
    ip("link", "set", device, "netns", name)
    ip("-n", name, "addr", "add", f"{_NEAR if 'tun0' in name else _FAR}/24", "dev", device)
    ip("-n", name, "link", "set", device, "up")
    return tun


def _take(inside: int, outside: int, queue: deque[tuple[float, bytes]], arrived: threading.Semaphore, link: Link):
    """Reads packets and says when each is due at the other end. Ends with the device."""
    free_s = 0.0
    with contextlib.suppress(OSError):
        while packet := os.read(inside, 65_536):
            free_s = max(time.monotonic(), free_s) + len(packet) * 8 / link.bandwidth_bps
            queue.append((free_s + link.rtt_s / 2, packet))
            arrived.release()


def _give(inside: int, outside: int, queue: deque[tuple[float, bytes]], arrived: threading.Semaphore, link: Link):
    with contextlib.suppress(OSError):
        while arrived.acquire():
            due_s, packet = queue.popleft()
            time.sleep(max(0.0, due_s - time.monotonic()))
            os.write(outside, packet)
