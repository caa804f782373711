"""Machines on a switch, in the kernel: a network namespace for each, behind a link that limits its rate. Needs root.

    machine 1 ── tc tbf both ways ──┐
    machine 2 ── tc tbf both ways ──┼─ switch ── this machine, as fast as it goes
    …                               │
                       air ─────────┘  one medium for all: what a machine sends passes its one tc tbf

As in `namespace`, nothing has a name that could be left over: all goes with the processes inside.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence

from broker.links import namespace
from broker.links.namespace import Namespace
from tflsplit import errors
from tflsplit.values.classes import dataclass

# So many addresses, four for each link, and so many links.
_POOL, _EACH = 256, 4
MOST_MACHINES = _POOL // _EACH - 2
# Within the switch: where what came from a machine goes first, if there is one medium.
_AIR, _TABLE, _HARDWARE = ("air", "ground"), "100", "02:00:00:00:00:01"


@dataclass(frozen=True, slots=True)
class Lan:
    """`outside` is this machine's address, which the others reach; `addresses` are theirs."""

    outside: str
    addresses: tuple[str, ...]
    _machines: tuple[Namespace, ...]

    def inside(self, machine: int, *command: str) -> list[str]:
        """The command line that runs `command` on the machine of that number."""
        return [*self._machines[machine].prefix, *command]


@contextlib.contextmanager
def joined(
    rates_bps: Sequence[float], *, medium_bps: float | None = None, outside_bps: float | None = None
) -> Iterator[Lan]:
    """Machines, each on a link of its rate both ways; with `medium_bps` all are on one medium besides, which whatever a
    machine sends passes once. `outside_bps` is the rate of this machine's own link, which has none by default.
    DeviceError if that cannot be made.

    Processes inside must end before the block does.
    """
    if not 1 <= len(rates_bps) <= MOST_MACHINES:
        raise errors.SettingsError(f"{len(rates_bps)} machines on a switch: give 1 to {MOST_MACHINES}")
    namespace.check_possible()
    name, pool = namespace.free_name(_POOL)
    ends = [(str(pool[first + 1]), str(pool[first + 2])) for first in range(0, _POOL, _EACH)]
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(namespace.held(forwards=True))
        switch.run("ip", "link", "set", "dev", "lo", "up")
        if medium_bps is not None:
            _hang_up(switch, medium_bps, ends[-1])
        outside, near = ends[0]
        stack.enter_context(namespace.cable(name, switch, "near"))
        namespace.run("ip", "addr", "add", f"{outside}/30", "dev", name)
        namespace.run("ip", "link", "set", "dev", name, "up")
        _raise(switch, "near", near)
        namespace.run("ip", "route", "add", str(pool), "via", near)
        if outside_bps is not None:
            namespace.limit(switch.run, "near", outside_bps)
            namespace.limit(namespace.run, name, outside_bps)
        machines = []
        for number, rate_bps in enumerate(rates_bps, 1):
            machine = stack.enter_context(namespace.held())
            _attach(switch, machine, f"port{number}", ends[number], rate_bps)
            if medium_bps is not None:
                switch.run("ip", "rule", "add", "pref", "20", "iif", f"port{number}", "lookup", _TABLE)
            machines.append(machine)
        yield Lan(outside, tuple(own for _, own in ends[1 : len(rates_bps) + 1]), tuple(machines))


def _attach(switch: Namespace, machine: Namespace, port: str, ends: tuple[str, str], rate_bps: float) -> None:
    gate, own = ends
    switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", "link", "netns", str(machine.pid))
    _raise(switch, port, gate)
    _raise(machine, "link", own)
    machine.run("ip", "link", "set", "dev", "lo", "up")
    machine.run("ip", "route", "add", "default", "via", gate)
    if not math.isinf(rate_bps):
        namespace.limit(switch.run, port, rate_bps)
        namespace.limit(machine.run, "link", rate_bps)


def _hang_up(switch: Namespace, medium_bps: float, ends: tuple[str, str]) -> None:
    """A cable from the switch to itself. What comes back by it goes on to the machine that it is for."""
    air, ground = _AIR
    switch.run("ip", "link", "add", air, "type", "veth", "peer", "name", ground, "address", _HARDWARE)
    _raise(switch, air, ends[0])
    switch.run("ip", "link", "set", "dev", ground, "up")
    switch.run("ip", "neigh", "add", ends[1], "lladdr", _HARDWARE, "dev", air)
    switch.run("ip", "route", "add", "default", "via", ends[1], "dev", air, "table", _TABLE)
    namespace.limit(switch.run, air, medium_bps)


def _raise(where: Namespace, end: str, address: str) -> None:
    where.run("ip", "addr", "add", f"{address}/30", "dev", end)
    where.run("ip", "link", "set", "dev", end, "up")
