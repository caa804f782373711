"""Machines that share a network, what joins them, and the file that describes both."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import arguments, configuration, errors, quantities
from tflsplit.graph.tensors import Array
from tflsplit.kernels.classes import KernelClass
from tflsplit.placement import addresses
from tflsplit.placement.measured import Measured, Reader
from tflsplit.timings import links
from tflsplit.values.classes import dataclass, replace

# A guess at the cost of a piece on a small board, where nobody measured it.
ASSUMED_PIECE_S = 0.5e-3


@dataclass(frozen=True, slots=True)
class Machine:
    """`macs_per_s` is its speed; `piece_s` what each piece costs besides, None where that was neither measured nor
    stated, which counts as `ASSUMED_PIECE_S`; `memory_bytes` bounds weights and features;
    `bandwidth_bps` is that of its own link, where it is less than the medium's. `power_w` while it computes is for
    energy. A machine that was measured has seconds for each operator, and the class of its kernels. `address` is where
    the others reach it without a broker (`placement.addresses`)."""

    name: str
    macs_per_s: float
    piece_s: float | None = None
    memory_bytes: float = math.inf
    bandwidth_bps: float = math.inf
    power_w: float = 0.0
    operator_s: tuple[float, ...] = ()
    kernel_class: KernelClass | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if not min(self.macs_per_s, self.memory_bytes, self.bandwidth_bps) > 0:
            raise errors.SettingsError(f"machine {self.name}: speed, memory and bandwidth have to be above zero")
        if self.overhead_s < 0 or self.power_w < 0:
            raise errors.SettingsError(f"machine {self.name}: time and power cannot be below zero")

    @property
    def overhead_s(self) -> float:
        """Of each piece."""
        return ASSUMED_PIECE_S if self.piece_s is None else self.piece_s


@dataclass(frozen=True, slots=True)
class Medium:
    """What joins the machines: `bandwidth_bps` of each one's own link both ways, or of the one medium that all share;
    `delay_s` for the messages of an exchange, which go out together. `is_relayed` where all of them go to a broker, on
    a link of the same bandwidth, and from it."""

    bandwidth_bps: float
    delay_s: float = 0.0
    is_shared: bool = False
    is_relayed: bool = False

    def __post_init__(self) -> None:
        if not (self.bandwidth_bps > 0 and self.delay_s >= 0):
            raise errors.SettingsError(f"a link of {self.bandwidth_bps} bit/s and {self.delay_s} s carries nothing")


@dataclass(frozen=True, slots=True)
class Cluster:
    """`source` has the model's inputs, and `sink` wants its outputs; both are machines by number."""

    machines: tuple[Machine, ...]
    medium: Medium
    source: int = 0
    sink: int = 0

    def __post_init__(self) -> None:
        names = [machine.name for machine in self.machines]
        if not names:
            raise errors.SettingsError("no machine: name one at least")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise errors.SettingsError(f"two machines are called {twice}: each needs a name of its own")

    @property
    def bandwidths_bps(self) -> tuple[float, ...]:
        """Of each machine's link."""
        return tuple(min(machine.bandwidth_bps, self.medium.bandwidth_bps) for machine in self.machines)

    def busy_s(self, sent: Array, received: Array) -> Array:
        """How long the busiest link carries what each machine sends and receives; bytes are (…, N), seconds (…)."""
        longest: Array = (np.maximum(sent, received) * 8 / np.array(self.bandwidths_bps)).max(axis=-1)
        if self.medium.is_shared or self.medium.is_relayed:
            times = 2 if self.medium.is_shared and self.medium.is_relayed else 1
            longest = np.maximum(longest, times * np.sum(sent, axis=-1) * 8 / self.medium.bandwidth_bps)
        return longest

    def exchange_s(self, sent: Array, received: Array) -> Array:
        """The time of an exchange: that of its bytes, as in `busy_s`, and the messages' delay. A broker passes on what
        it has whole, so the last of it comes a transfer and a delay later."""
        carried_s, hops = self.busy_s(sent, received), 1
        if self.medium.is_relayed:
            hops = 2
            if not self.medium.is_shared:
                carried_s = carried_s + (received * 8 / np.array(self.bandwidths_bps)).max(axis=-1)
        took_s: Array = carried_s + (carried_s > 0) * hops * self.medium.delay_s
        return took_s


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.SettingsError(f"{what} is {value!r}, expected a number")
    return float(value)


def _text(value: object, what: str) -> str:
    return arguments.instance(value, str, what)


# A machine's name is that of a folder, too.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# How each key of a `[[machine]]` is read; `speed` is in multiply-accumulates a second.
_MACHINE: Mapping[str, tuple[str, Callable[[Any, str], float | str]]] = {
    "speed": ("macs_per_s", _number),
    "overhead": ("piece_s", quantities.parse_duration),
    "memory": ("memory_bytes", quantities.parse_bytes),
    "bandwidth": ("bandwidth_bps", quantities.parse_bandwidth),
    "power": ("power_w", _number),
    "address": ("address", _text),
}
_KEYS = ("bandwidth", "delay", "link", "shared", "transport", "source", "sink")
# A probe's round trip is to the broker, to its echo, and the same way back: four links.
_LINKS_OF_PROBE = 4
# What machines speak, and whether it passes a broker. Without a word of it links are direct.
TRANSPORTS: Mapping[str, bool] = {"zenoh": False, "mqtt": True}


def read(path: Path, measure: Reader | None = None) -> Cluster:
    """A TOML file: `bandwidth` and `delay`, or `link` (the file of a probe), `shared` and `transport` of what joins the
    machines, `source` and `sink` by name (the first machine), and a `[[machine]]` each with `name`, `speed` or
    `profile` (the file of its profile, which `measure` reads) and perhaps `memory`, `bandwidth`, `overhead`, `power`,
    `address`.

    DataError for a file that is no such thing, with all that is wrong in it.
    """
    problems: list[str] = []
    _, found = configuration.parsed(path, problems)
    if not problems:
        problems += [f"{path}: no key {key!r}; there are {', '.join(_KEYS)}, machine" for key in _strange(found)]
    reader = None if measure is None else lambda given: measure(path.parent / given)
    machines = [_machine(entry, f"{path}: machine {number}", problems, reader) for number, entry in _entries(found)]
    if not problems and not machines:
        problems.append(f"{path}: no [[machine]]; describe one at least")
    if problems:
        raise errors.DataError("; ".join(problems))
    try:
        return _cluster(found, [machine for machine in machines if machine is not None], path.parent)
    except errors.SettingsError as problem:
        raise errors.DataError(f"{path}: {problem}") from problem


def even(count: int, speed: float, bandwidth_bps: float, *, delay_s: float = 0.0, is_shared: bool = False) -> Cluster:
    """So many machines alike, `m1` and on; `speed` in multiply-accumulates a second."""
    machines = tuple(Machine(f"m{number}", speed) for number in range(1, count + 1))
    return Cluster(machines, Medium(bandwidth_bps, delay_s, is_shared))


def _cluster(found: Mapping[str, Any], machines: Sequence[Machine], folder: Path) -> Cluster:
    shared = found.get("shared", False)
    if not isinstance(shared, bool):
        raise errors.SettingsError(f"shared is {shared!r}, expected true or false")
    transport = found.get("transport", "zenoh")
    if transport not in TRANSPORTS:
        raise errors.SettingsError(f'transport is {transport!r}, expected "mqtt" or "zenoh"')
    bandwidth_bps, delay_s = _link(found, folder)
    medium = Medium(bandwidth_bps, delay_s, shared, is_relayed=TRANSPORTS[transport])
    addresses.check({machine.name: machine.address for machine in machines}, is_relayed=medium.is_relayed)
    made, names = Cluster(tuple(machines), medium), [machine.name for machine in machines]
    places = []
    for key in ("source", "sink"):
        name = found.get(key, names[0])
        if name not in names:
            raise errors.SettingsError(f"{key} is {name!r}, which is none of the machines: {', '.join(names)}")
        places.append(names.index(name))
    return replace(made, source=places[0], sink=places[1])


def _link(found: Mapping[str, Any], folder: Path) -> tuple[float, float]:
    """Bandwidth and delay as stated, or as `tflsplit probe` measured them between two of the machines: then what the
    programs at both ends take for a message is in the delay."""
    if "link" not in found:
        delay_s = quantities.parse_duration(found.get("delay", 0.0), "delay")
        return quantities.parse_bandwidth(found.get("bandwidth", "100Mbit")), delay_s
    both = [key for key in ("bandwidth", "delay") if key in found]
    if both:
        raise errors.SettingsError(f"{both[0]} is stated, and link, which has it measured; give one of the two")
    measured = links.read(folder / arguments.instance(found["link"], str, "link"))
    return measured.bandwidth_bps, measured.rtt_s / _LINKS_OF_PROBE


def _machine(
    entry: object, where: str, problems: list[str], measure: Callable[[str], Measured] | None
) -> Machine | None:
    if not isinstance(entry, Mapping):
        problems.append(f"{where}: expected a table")
        return None
    strange = [key for key in entry if key not in {*_MACHINE, "name", "profile"}]
    if strange:
        problems.append(f"{where}: no key {strange[0]!r}; there are name, profile, {', '.join(_MACHINE)}")
        return None
    if not isinstance(entry.get("name"), str) or ("speed" in entry) == ("profile" in entry):
        problems.append(f'{where}: name and speed are needed, or name and profile, as in name = "pi1", speed = 3.4e9')
        return None
    try:
        check_name(entry["name"])
        read_as: dict[str, Any] = {
            _MACHINE[key][0]: _MACHINE[key][1](value, key) for key, value in entry.items() if key in _MACHINE
        }
        if measure is not None and "profile" in entry:
            timed = measure(arguments.instance(entry["profile"], str, "profile"))
            read_as |= {each: getattr(timed, each) for each in ("macs_per_s", "operator_s", "kernel_class")}
            read_as = {"piece_s": timed.piece_s} | read_as  # what is stated counts
        return Machine(entry["name"], **read_as)
    except (errors.SettingsError, errors.DataError) as problem:
        problems.append(f"{where}: {problem}")
        return None


def check_name(name: str) -> None:
    """SettingsError for one that is not safe as the name of a folder."""
    if not _NAME.fullmatch(name):
        raise errors.SettingsError(f"name is {name!r}; take letters, digits, '.', '_' and '-', a letter first")


def _strange(found: Mapping[str, Any]) -> list[str]:
    return [key for key in found if key not in {*_KEYS, "machine"}]


def _entries(found: Mapping[str, Any]) -> "enumerate[Any]":
    listed = found.get("machine", [])
    return enumerate(listed if isinstance(listed, list) else [listed], 1)
