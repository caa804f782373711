"""Parses the name of an accelerator, as people write it, and chooses one for `auto`.

auto | cpu[?cores=0-3] | coral[:usb|:pci][:N][?Performance=Max] | delegate:PATH[?option=value&…]
     | served:PATH[?weight=2]
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.protocol import Accelerator
from tflsplit import arguments, errors

if TYPE_CHECKING:  # a head on the CPU starts without the other accelerators
    from edge_runtime.accelerators.child import Limits
    from edge_runtime.accelerators.coral import Coral

AUTO = "auto"

_CORES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)
_MOST_CORES = 4096


def parse(text: str, *, threads: int = 1, limits: "Limits | None" = None) -> Accelerator:
    """The accelerator of any name but `auto`; SettingsError lists the names. `threads` are for what runs on the CPU."""
    kind, _, query = arguments.text(text, "accelerator").partition("?")
    options = _options(text, query)
    name, _, rest = kind.partition(":")
    if kind == "cpu":
        return Cpu(threads, _cores(text, options))
    from edge_runtime.accelerators import child, coral, delegate, served

    limits = limits or child.DEFAULT_LIMITS
    if name == "coral" and not kind.endswith(":"):
        return coral.Coral(f":{rest}" if rest.isdigit() else rest, options, threads, limits)
    if name == "delegate" and rest:
        return delegate.Delegate(rest, options, threads, limits)
    if name == "served" and rest:
        return served.Served(rest, _weight(text, options), limits)
    raise errors.SettingsError(
        f"accelerator {text!r}: give auto, cpu, coral, coral:usb:0, coral:pci:0, delegate:PATH or served:PATH, with "
        "?option=value"
    )


def automatic(
    *,
    is_compiled: bool,
    threads: int = 1,
    probe: "Callable[[Coral], None] | None" = None,
) -> tuple[Accelerator, str]:
    """The accelerator of this machine for a head, and the reason for the choice."""
    if not is_compiled:
        return Cpu(threads), "the head is not compiled for the Edge TPU"
    from edge_runtime.accelerators.coral import Coral

    wanted = Coral(threads=threads)
    try:
        (probe or Coral.probe)(wanted)
    except errors.DeviceError as refused:
        return Cpu(threads), str(refused)
    return wanted, "an Edge TPU answers"


def _options(text: str, query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as cause:
        raise errors.SettingsError(f"accelerator {text!r}: write options as ?name=value&name=value") from cause
    if len(dict(pairs)) != len(pairs):
        raise errors.SettingsError(f"accelerator {text!r}: an option is given twice")
    return dict(pairs)


def _weight(text: str, options: Mapping[str, str]) -> float:
    if options.keys() - {"weight"}:
        raise errors.SettingsError(f"accelerator {text!r}: the only option of a served one is weight, as ?weight=2")
    try:
        return float(options.get("weight", "1"))
    except ValueError:
        raise errors.SettingsError(f"accelerator {text!r}: weight {options['weight']!r} is no number") from None


def _cores(text: str, options: Mapping[str, str]) -> frozenset[int]:
    if options.keys() - {"cores"}:
        raise errors.SettingsError(f"accelerator {text!r}: the CPU's only option is cores, as cpu?cores=0-3")
    if not options:
        return frozenset()
    if _CORES.fullmatch(options["cores"]) is None:
        raise errors.SettingsError(f"accelerator {text!r}: write cores as 0-3 or 0,2")
    cores: set[int] = set()
    for part in options["cores"].split(","):
        first, _, last = part.partition("-")
        if int(last or first) >= _MOST_CORES:
            raise errors.SettingsError(f"accelerator {text!r}: no machine has that many cores")
        cores.update(range(int(first), int(last or first) + 1))
    if not cores:
        raise errors.SettingsError(f"accelerator {text!r}: write a range of cores upwards, as 0-3")
    return frozenset(cores)
