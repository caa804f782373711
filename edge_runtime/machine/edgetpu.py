"""Whether this machine can use an Edge TPU: the device, the permission to open it, the library, and its version.

Reads sysfs, so that neither lsusb nor root is needed, and opens no device. `root` stands for `/`.
"""

import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.machine import kernel_files
from tflsplit import extras
from tflsplit.findings import Finding, State
from tflsplit.values.classes import dataclass

LIBRARY = "libedgetpu.so.1"

_COMMUNITY_BUILD = "https://github.com/feranick/libedgetpu/releases"

# A USB Coral comes back with another USB identity once the runtime has loaded its firmware.
_BEFORE_FIRST_USE, _AFTER_FIRST_USE = ("1a6e", "089a"), ("18d1", "9302")
_PCI_ID = ("0x1ac1", "0x089a")

_USB_3_MBPS = 5000

GROUP = "plugdev"

# Lines of a udev rule that let members of the group open a USB Coral under either identity.
USB_RULES = tuple(
    f'SUBSYSTEM=="usb", ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}", GROUP="{GROUP}", MODE="0660"'
    for vendor, product in (_BEFORE_FIRST_USE, _AFTER_FIRST_USE)
)

# No here-document: people see it indented, and an indented end mark does not end a here-document.
UDEV_RULE = f"""\
printf '%s\\n' \\
  '{USB_RULES[0]}' \\
  '{USB_RULES[1]}' \\
  | sudo tee /etc/udev/rules.d/99-coral.rules
sudo udevadm control --reload-rules && sudo udevadm trigger"""

_JOIN_PLUGDEV = 'plug it in again; if that is not it: `sudo usermod -aG plugdev "$USER"`, then log in again'

# In a child process: a library of the wrong build can end the process that loads it.
_CHILD = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.edgetpu_version.restype = ctypes.c_char_p
print(library.edgetpu_version().decode())
with open("/proc/self/maps") as maps:
    print(next((line.split(maxsplit=5)[5].strip() for line in maps if "libedgetpu" in line), ""))
"""

Opens = Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class UsbCoral:
    """`port` is the kernel's name of the USB port, `node` the device file to open."""

    port: str
    was_used: bool
    speed_mbps: float
    node: Path


def may_open(node: Path) -> bool:
    """Whether the user of this process may open it; a service may run as another user."""
    return os.access(node, os.R_OK | os.W_OK)


def usb_corals(root: Path = Path("/")) -> tuple[UsbCoral, ...]:
    found = []
    for device in sorted((root / "sys/bus/usb/devices").glob("*")):
        identity = (kernel_files.text(device / "idVendor"), kernel_files.text(device / "idProduct"))
        if identity in (_BEFORE_FIRST_USE, _AFTER_FIRST_USE):
            node = root / f"dev/bus/usb/{_number(device / 'busnum'):03.0f}/{_number(device / 'devnum'):03.0f}"
            was_used = identity == _AFTER_FIRST_USE
            found.append(UsbCoral(device.name, was_used, _number(device / "speed"), node))
    return tuple(found)


def apexes(root: Path = Path("/")) -> tuple[Path, ...]:
    """Device nodes of the Edge TPUs on PCIe and M.2."""
    return tuple(sorted((root / "dev").glob("apex_*")))


def usb(root: Path = Path("/"), opens: Opens = may_open) -> Finding:
    corals = usb_corals(root)
    if not corals:
        return Finding("Coral USB", State.INFO, "none plugged in")
    detail = ", ".join(
        f"port {coral.port} at {coral.speed_mbps:g} Mbit/s, {'used' if coral.was_used else 'not used'} since plugged in"
        for coral in corals
    )
    shut = [str(coral.node) for coral in corals if not opens(coral.node)]
    if shut:
        remedy = _JOIN_PLUGDEV if udev_rule(root).state is State.OK else "add the udev rule (next finding)"
        return Finding("Coral USB", State.WRONG, f"{detail}; cannot be opened: {', '.join(shut)}", remedy)
    # Before first use the boot loader talks, at a speed that says nothing about the port.
    slow = [coral.port for coral in corals if coral.was_used and coral.speed_mbps < _USB_3_MBPS]
    if slow:
        remedy = "plug it into a USB 3 port with the cable it came with: USB 2 carries a tenth of the bytes a second"
        return Finding("Coral USB", State.WRONG, f"{detail}; on USB 2: port {', '.join(slow)}", remedy)
    return Finding("Coral USB", State.OK, detail)


def udev_rule(root: Path = Path("/")) -> Finding:
    """Whether a udev rule opens both identities of a USB Coral to users other than root."""
    rules = _rules(root)
    by_identity = [
        [file.name for file, line in rules if _covers(line, identity)]
        for identity in (_BEFORE_FIRST_USE, _AFTER_FIRST_USE)
    ]
    if all(by_identity):
        return Finding("udev rule", State.OK, " and ".join(sorted({names[0] for names in by_identity})))
    if any(by_identity):
        missing = ":".join(_AFTER_FIRST_USE if by_identity[0] else _BEFORE_FIRST_USE)
        detail = f"only one of a Coral's two identities has one, {missing} has none"
        return Finding("udev rule", State.WRONG, detail, UDEV_RULE)
    if usb_corals(root):
        return Finding("udev rule", State.MISSING, "only root can open the Coral that is plugged in", UDEV_RULE)
    return Finding("udev rule", State.INFO, "none, and no USB Coral that needs it")


def apex_group(root: Path = Path("/"), *, besides: str = "") -> str | None:
    """The group to which a rule, not in the file of the name `besides`, gives the Edge TPUs on PCIe."""
    for file, line in _rules(root):
        given = re.search(r'GROUP="([^"]+)"', line)
        if file.name != besides and 'SUBSYSTEM=="apex"' in line.replace(" ", "") and given:
            return given[1]
    return None


def pcie(root: Path = Path("/"), opens: Opens = may_open) -> Finding:
    nodes = apexes(root)
    if not nodes:
        return _pcie_without_driver(root)
    shut = [str(node) for node in nodes if not opens(node)]
    temperatures_c = {node: _celsius(root, node, "temp") for node in nodes}
    detail = ", ".join(
        f"{node.name} at {celsius:.0f} °C" if celsius else f"{node.name}, temperature unknown"
        for node, celsius in temperatures_c.items()
    )
    if shut:
        remedy = (
            """echo 'SUBSYSTEM=="apex", MODE="0660", GROUP="apex"' | sudo tee /etc/udev/rules.d/65-apex.rules\n"""
            """sudo groupadd -f apex && sudo usermod -aG apex "$USER" && sudo udevadm trigger  # then log in again"""
        )
        return Finding("Coral PCIe", State.WRONG, f"{detail}; cannot be opened: {', '.join(shut)}", remedy)
    slowed = [node.name for node in nodes if 0 < _celsius(root, node, "trip_point0_temp") <= temperatures_c[node]]
    if slowed:
        remedy = "cool it: the driver lowers its clock from this temperature on"
        return Finding("Coral PCIe", State.WRONG, f"{detail}; too hot: {', '.join(slowed)}", remedy)
    return Finding("Coral PCIe", State.OK, detail)


def library(*, is_wanted: bool, name: str = LIBRARY, dpkg_query: str = "dpkg-query") -> Finding:
    """Whether the Edge TPU library loads, and whether it fits the interpreter. `is_wanted` if there is a device."""
    title = "Edge TPU library"
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD, name], capture_output=True, text=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(title, State.WRONG, f"{name} did not load within 10 s", f"install {_COMMUNITY_BUILD}")
    reason = (child.stderr.strip().splitlines() or [f"loading it ended its process with status {child.returncode}"])[-1]
    if child.returncode == 0:
        build, file = child.stdout.splitlines()
        return _judge_build(title, build, _package_of(file, dpkg_query))
    if f"{name}: cannot open shared object file" in reason:
        remedy = f"install libedgetpu1-std from {_COMMUNITY_BUILD}"
        if is_wanted:
            return Finding(title, State.MISSING, f"{name} is not installed, and the Edge TPU here needs it", remedy)
        return Finding(title, State.INFO, f"{name} is not installed; only an Edge TPU needs it", remedy)
    if "libusb" in reason:
        return Finding(title, State.WRONG, reason, "sudo apt install libusb-1.0-0")
    return Finding(title, State.WRONG, f"{name} cannot be used: {reason}", f"install {_COMMUNITY_BUILD}")


def pycoral(path: Sequence[str] | None = None) -> Finding:
    """Whether an installed `pycoral` is Google's: PyPI has a package of that name about coral reefs."""
    found = importlib.machinery.PathFinder.find_spec("pycoral", sys.path if path is None else path)
    if found is None:
        return Finding("pycoral", State.INFO, "not installed, not needed")
    if any((Path(place) / "utils/edgetpu.py").exists() for place in found.submodule_search_locations or ()):
        return Finding("pycoral", State.OK, extras.version_of("pycoral", path) or "installed, version unknown")
    detail = "PyPI's package of that name, about coral reefs: it has no pycoral.utils.edgetpu"
    return Finding("pycoral", State.WRONG, detail, "`pip uninstall pycoral`: tflsplit needs none")


def _pcie_without_driver(root: Path) -> Finding:
    devices = sorted((root / "sys/bus/pci/devices").glob("*"))
    places = [
        device.name
        for device in devices
        if (kernel_files.text(device / "vendor"), kernel_files.text(device / "device")) == _PCI_ID
    ]
    if not places:
        return Finding("Coral PCIe", State.INFO, "none built in")
    remedy = "install the driver gasket-dkms and load it: `sudo modprobe apex`"
    return Finding("Coral PCIe", State.MISSING, f"built in at {', '.join(places)}, but there is no /dev/apex_0", remedy)


def _judge_build(title: str, build: str, package: str | None) -> Finding:
    """Judged by the TensorFlow it was built with: Google's last build (2021) is older than our interpreters."""
    detail = f"{package or 'of no Debian package'}, {build}"
    if built_for := re.search(r"TF(\d+\.\d+)", package or ""):
        return Finding(title, State.OK, f"built with TensorFlow {built_for[1]}: {detail}")
    if package is not None or re.search(r"COMPILER=[56]\.", build):  # the gcc that Google built its Linux releases with
        remedy = f"install libedgetpu1-std from {_COMMUNITY_BUILD}, built for today's interpreters"
        detail = f"Google's build of 2021, with which newer interpreters can crash: {detail}"
        return Finding(title, State.WRONG, detail, remedy)
    return Finding(title, State.INFO, f"unknown which TensorFlow it was built with: {detail}")


def _package_of(file: str, dpkg_query: str) -> str | None:
    """Name and version of the Debian package that a file belongs to."""
    if not file or shutil.which(dpkg_query) is None:
        return None
    owner = subprocess.run([dpkg_query, "-S", file], capture_output=True, text=True, check=False).stdout
    if not owner:
        return None
    name = owner.partition(": ")[0]
    shown = subprocess.run(
        [dpkg_query, "-W", "-f", "${Package} ${Version}", name], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


def _rules(root: Path) -> list[tuple[Path, str]]:
    folders = ("etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d")
    files = [file for folder in folders for file in sorted((root / folder).glob("*.rules"))]
    return [(file, line) for file in files for line in kernel_files.text(file).splitlines() if not line.startswith("#")]


def _covers(rule: str, identity: tuple[str, str]) -> bool:
    """A rule may name the vendor alone, as Google's own does."""
    vendor, product = identity
    return f'{{idVendor}}=="{vendor}"' in rule and ("{idProduct}" not in rule or f'{{idProduct}}=="{product}"' in rule)


def _celsius(root: Path, node: Path, name: str) -> float:
    """0 if the driver does not report it."""
    return _number(root / f"sys/class/apex/{node.name}/{name}") / 1000


def _number(file: Path) -> float:
    """The number in a file; 0 if it holds none."""
    try:
        return float(kernel_files.text(file) or 0)
    except ValueError:
        return 0.0
