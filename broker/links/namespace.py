"""A link in the kernel: a network namespace behind another one that limits the rate, delays and loses packets. Needs
root.

    this machine ── wire: tc tbf both ways, nftables numgen random, netem or a `delay_line` ── inside

The wire only forwards, so packets lost there are lost for TCP as on a real link. Namespaces have no names, so none can
be left over: each lasts as long as the processes in it, the process that holds it ends with ours in any case, and the
interfaces go with it.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

from broker.links import delay_line
from tflsplit import errors
from tflsplit.values.classes import dataclass

# Addresses for tests between networks (RFC 2544), which no real network uses. Eight addresses for each link.
_ADDRESSES = IPv4Network("198.18.0.0/15")
_EACH = 8
_TOOLS = ("ip", "tc", "nft", "nsenter", "unshare")
# The burst after a pause: one packet, or as much as passes in a millisecond, by which a timer may be late.
_PACKET_BYTES, _BURST_S = 1_600, 0.001
# How long a packet may queue before it is dropped: what cheap routers do.
_QUEUE = "500ms"
_MILLION = 1_000_000
# Prints a line when it runs, and ends when our end of its standard input closes.
_HOLD = "echo; read -r _"
_FORWARD = "echo 1 > /proc/sys/net/ipv4/ip_forward; " + _HOLD


@dataclass(frozen=True, slots=True)
class Network:
    """`outside` is this machine's address on the link, `address` that of what runs `inside`."""

    outside: str
    address: str
    lost_packets: Callable[[], int]
    _prefix: tuple[str, ...]
    _wire: "Namespace"

    def inside(self, *command: str) -> list[str]:
        """The command line that runs `command` behind the link."""
        return [*self._prefix, *command]

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Within, every packet is lost both ways, and neither end is told."""
        self._wire.run("nft", "add chain inet wire dead { type filter hook forward priority -1; policy drop; }")
        try:
            yield
        finally:
            self._wire.run("nft", "delete chain inet wire dead")


@contextlib.contextmanager
def shaped(*, rate_bps: float, loss: float = 0.0, delay_s: float = 0.0) -> Iterator[Network]:
    """A link; rate, loss (a share of packets) and delay are for each direction. DeviceError if it cannot be made.

    Processes inside must end before the block does.
    """
    check_possible()
    name, addresses = free_name()
    outside, near, far, inside = (str(addresses[number]) for number in (1, 2, 5, 6))
    with contextlib.ExitStack() as stack:
        wire, behind = stack.enter_context(held(forwards=True)), stack.enter_context(held())
        has_netem = bool(delay_s) and _has_netem(wire)
        line = stack.enter_context(_joined(name, wire, 0.0 if has_netem else delay_s))
        wire.run("ip", "link", "add", "far", "type", "veth", "peer", "name", "link", "netns", str(behind.pid))
        run("ip", "addr", "add", f"{outside}/30", "dev", name)
        run("ip", "link", "set", "dev", name, "up")
        for end, address in (("near", near), ("far", far)):
            wire.run("ip", "addr", "add", f"{address}/30", "dev", end)
            wire.run("ip", "link", "set", "dev", end, "up")
            limit(wire.run, end, rate_bps, delay_s if has_netem else 0.0)
        behind.run("ip", "addr", "add", f"{inside}/30", "dev", "link")
        for end in ("link", "lo"):
            behind.run("ip", "link", "set", "dev", end, "up")
        behind.run("ip", "route", "add", "default", "via", far)
        run("ip", "route", "add", f"{inside}/32", "via", near)
        _lose(wire, loss)
        yield Network(outside, inside, lambda: _lost(wire) + (line.refused if line else 0), behind.prefix, wire)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace; the process `pid` keeps it alive."""

    pid: int

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    def run(self, *command: str) -> str:
        return run(*self.prefix, *command)


@contextlib.contextmanager
def held(*, forwards: bool = False) -> Iterator[Namespace]:
    """A network namespace, until the block ends; with `forwards` it passes on what is not for it."""
    # A session of its own: Ctrl-C must not end it before the processes inside.
    with subprocess.Popen(
        ("unshare", "--net", "sh", "-ec", _FORWARD if forwards else _HOLD),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as holder:
        assert holder.stdout is not None and holder.stderr is not None  # noqa: S101, PT018 - for mypy: they are pipes
        if not holder.stdout.readline():
            raise errors.DeviceError(f"no network namespace can be made here: {holder.stderr.read().strip()}")
        yield Namespace(holder.pid)


@contextlib.contextmanager
def _joined(name: str, wire: Namespace, delay_s: float) -> Iterator[delay_line.DelayLine | None]:
    """Joins our interface `name` and the wire's `near`: by a delay line, or without a delay by a virtual cable."""
    if delay_s:
        with delay_line.between((name, f"{name}w"), delay_s) as line:
            run("ip", "link", "set", "dev", f"{name}w", "netns", str(wire.pid), "name", "near")
            yield line
        return
    with cable(name, wire, "near"):
        yield None


@contextlib.contextmanager
def cable(name: str, behind: Namespace, end: str) -> Iterator[None]:
    """A virtual cable from our interface `name` to the namespace's `end`."""
    run("ip", "link", "add", name, "type", "veth", "peer", "name", end, "netns", str(behind.pid))
    try:
        yield
    finally:
        run("ip", "link", "del", "dev", name)  # otherwise it would outlive its namespace by a moment


def limit(run: Callable[..., str], end: str, rate_bps: float, delay_s: float = 0.0) -> None:
    """What leaves by `end` is no faster than that, and is delayed. `run` runs a command where that end is."""
    burst_bytes = max(_PACKET_BYTES, int(rate_bps / 8 * _BURST_S))
    rate = ("rate", f"{rate_bps:.0f}bit", "burst", str(burst_bytes), "latency", _QUEUE)
    run("tc", "qdisc", "add", "dev", end, "root", "handle", "1:", "tbf", *rate)
    if delay_s:
        run("tc", "qdisc", "add", "dev", end, "parent", "1:1", "netem", "delay", f"{delay_s * 1e6:.0f}us")


def _has_netem(wire: Namespace) -> bool:
    command = (*wire.prefix, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _lose(wire: Namespace, loss: float) -> None:
    """Drops a share of packets, and counts them."""
    share = f"numgen random mod {_MILLION} < {round(loss * _MILLION)}"
    rules = (
        "add table inet wire",
        "add counter inet wire lost",
        "add chain inet wire forward { type filter hook forward priority 0; }",
        f"add rule inet wire forward {share} counter name lost drop",
    )
    for rule in rules if loss else rules[:2]:
        wire.run("nft", rule)


def _lost(wire: Namespace) -> int:
    words = wire.run("nft", "list", "counter", "inet", "wire", "lost").split()
    return int(words[words.index("packets") + 1])


def free_name(each: int = _EACH) -> tuple[str, IPv4Network]:
    """A free name for an interface, and so many addresses; random, so that two links at a time differ."""
    taken = {name for _, name in socket.if_nameindex()}
    while True:
        number = random.randrange(_ADDRESSES.num_addresses // each) * (each // _EACH)  # noqa: S311 - it guards nothing
        if (name := f"tfs{number}") not in taken:
            return name, IPv4Network((int(_ADDRESSES[number * _EACH]), 32 - (each - 1).bit_length()))


def check_possible() -> None:
    """DeviceError where no namespace can be made: without root, or without the tools."""
    if os.geteuid() != 0:
        raise errors.DeviceError("a link of network namespaces needs root; become root, or replay over the relay")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise errors.DeviceError(
            f"a link of network namespaces needs {', '.join(missing)}: apt install iproute2 nftables util-linux"
        )


def run(*command: str) -> str:
    """What a tool that makes links prints; DeviceError where it cannot."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as cause:
        said = cause.stderr.strip().splitlines() or [f"exit {cause.returncode}"]
        raise errors.DeviceError(f"no link of network namespaces: `{' '.join(command)}`: {said[-1]}") from cause
