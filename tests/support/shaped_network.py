"""A network namespace behind a slow and lossy cable, for tests that run as root: the kernel's TCP instead of a relay's.

Rate by `tc tbf`, loss by nftables' `numgen random`, delay by netem where the kernel has it.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

# Documentation addresses (RFC 5737): nobody's network is hidden by them.
NEAR, FAR = "198.51.100.1", "198.51.100.2"
_BURST_BYTES = 16_384
# A namespace's end of a cable is gone some time after the namespace itself: every name is used once.
_numbers = itertools.count()


@dataclass(frozen=True)
class Network:
    """Run a command behind the cable with `inside(...)`; there it has the address `FAR`."""

    name: str

    def inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def dropped_packets(self) -> int:
        shown = _run(*self.inside("nft", "list", "counter", "inet", "shaped", "lost"))
        words = shown.split()
        return int(words[words.index("packets") + 1])


def unavailable() -> str:
    """Why no shaped network can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "tc", "nft") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt install iproute2 nftables"
    try:
        with shaped(rate_bps=1e9):
            return ""
    except subprocess.CalledProcessError as problem:
        return f"this kernel or container makes no shaped network: {problem.stderr.strip() or problem}"


@contextlib.contextmanager
def shaped(*, rate_bps: float, loss: float = 0.0, delay_s: float = 0.0) -> Iterator[Network]:
    """Both directions at `rate_bps`; `loss` of what comes from our side; `delay_s` on our side, netem permitting."""
    unique = f"{os.getpid() % 10**7}-{next(_numbers)}"
    name, near, far = f"tflsplit-{unique}", f"tfn{unique}", f"tff{unique}"
    network = Network(name)
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _run("ip", "addr", "add", f"{NEAR}/24", "dev", near)
        _run("ip", "link", "set", near, "up")
        for command in (
            ("ip", "addr", "add", f"{FAR}/24", "dev", far),
            ("ip", "link", "set", far, "up"),
            ("ip", "link", "set", "lo", "up"),
        ):
            _run(*network.inside(*command))
        rate = ("rate", f"{rate_bps:.0f}bit", "burst", str(_BURST_BYTES), "latency", "500ms")
        _run("tc", "qdisc", "add", "dev", near, "root", "handle", "1:", "tbf", *rate)
        _run(*network.inside("tc", "qdisc", "add", "dev", far, "root", "tbf", *rate))
        if delay_s:
            _run("tc", "qdisc", "add", "dev", near, "parent", "1:1", "netem", "delay", f"{delay_s * 1000:g}ms")
        _lose(network, loss)
        yield network
    finally:
        # The cable goes with the namespace that one of its ends is in.
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _lose(network: Network, loss: float) -> None:
    """Every packet that is not for this share is kept; what is lost is counted."""
    rules = (
        "add table inet shaped",
        "add counter inet shaped lost",
        "add chain inet shaped input { type filter hook input priority 0; }",
        f"add rule inet shaped input numgen random mod 10000 < {round(loss * 10_000)} counter name lost drop",
    )
    for rule in rules if loss else rules[:2]:
        _run(*network.inside("nft", rule))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
