"""The Coral Edge TPU: libedgetpu as a delegate. It runs only heads that `edgetpu_compiler` has compiled."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edge_runtime.accelerators import child, delegate, diagnosis, protocol
from edge_runtime.accelerators.diagnosis import Failure
from edge_runtime.machine import edgetpu
from tflsplit import errors
from tflsplit.values.classes import dataclass, field

LIBRARY = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}.get(sys.platform, edgetpu.LIBRARY)

# The device names of libedgetpu's delegate; an empty name is any device.
_DEVICE = re.compile(r"|(usb|pci)?(:\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Coral:
    """`device` is "usb", "pci", either with an index ("usb:0"), ":N" for the Nth of all, or "" for any."""

    needs_compiled: ClassVar[bool] = True
    is_external: ClassVar[bool] = True

    device: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    limits: child.Limits = child.DEFAULT_LIMITS
    library: str = LIBRARY

    def __post_init__(self) -> None:
        if _DEVICE.fullmatch(self.device) is None:
            raise errors.SettingsError(
                f"Coral device {self.device!r}: give coral, coral:usb, coral:usb:0 or coral:pci:0"
            )
        if "device" in self.options:
            raise errors.SettingsError("the Coral option device is part of the name: give coral:usb:0")
        if self.options and not self.device[-1:].isdigit():
            # libedgetpu ignores them without an error.
            raise errors.SettingsError(
                f"{self.name}: libedgetpu obeys options ({', '.join(self.options)}) only for a device with an index: "
                f"give coral:{self.device or 'usb'}:0"
            )

    @property
    def name(self) -> str:
        return f"coral:{self.device.removeprefix(':')}" if self.device else "coral"

    def open(self, model: bytes, *, name: str) -> protocol.OpenModel:
        return delegate.DelegatedModel(self.start(), model, name)

    def start(self) -> delegate.Started:
        """Its process, in which models may be opened; DeviceError unless the library loads and a device answers it."""
        options = {"device": self.device, **self.options} if self.device else {}
        return delegate.Started(
            delegate.Delegate(self.library, options, self.threads, self.limits),
            *(self.name, self._explain),
            idle=lambda name: (
                f"{name}: nothing in it is for the Edge TPU, the CPU would do all the work: compile it with "
                "`tflsplit compile`"
            ),
        )

    def probe(self) -> None:
        """DeviceError unless the library loads and a device answers it."""
        self.start().close()

    def _explain(self, failure: Failure) -> str:
        return diagnosis.explain(failure, self.library, is_edge_tpu=True, refused=_why_refused(self.name))


def _why_refused(name: str, root: Path = Path("/")) -> str:
    """The reason by what the kernel knows of Edge TPUs, because libedgetpu gives none."""
    corals, apexes = edgetpu.usb_corals(root), edgetpu.apexes(root)
    there = [f"USB port {coral.port}" for coral in corals] + [str(node) for node in apexes]
    if not there:
        return "no Edge TPU on USB or PCIe here; plug one in, or run on --accelerator cpu"
    nodes = [coral.node for coral in corals] + list(apexes)
    if not any(edgetpu.may_open(node) for node in nodes):
        return (
            f"the Edge TPU ({', '.join(there)}) may not be opened by this user; `tflsplit doctor` prints the udev rule"
        )
    return f"{name} did not open, of {', '.join(there)}; another program may have it, or it is not there at that index"
