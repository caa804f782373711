"""The devices, groups and udev rules that a service needs for the accelerator and the source it is configured with."""

from collections.abc import Sequence
from pathlib import Path

from edge_runtime.accelerators import choice
from edge_runtime.accelerators.coral import Coral
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.served import Served
from edge_runtime.machine import edgetpu
from edge_runtime.service.unit import Access
from edge_runtime.sources import words
from tflsplit import errors

# Of the socket of `tflsplit accelerator serve`, as docs/accelerators.md sets it up, where it is not there to be asked.
SERVED_GROUP = "tflsplit-accelerator"


def needed(
    accelerator: str, source: str, others: Sequence[Path] = (), *, rules: str = "", root: Path = Path("/")
) -> Access:
    """`others` are further device nodes, for what the accelerator's library opens; `rules` is the name of our own file
    of udev rules. SettingsError for a group or a node that this machine lacks."""
    devices: list[str] = []
    groups: list[str] = []
    named = None if accelerator == choice.AUTO else choice.parse(accelerator)
    coral = Coral() if accelerator == choice.AUTO else named if isinstance(named, Coral) else None
    if coral is not None and _may_be(coral, "usb"):
        devices.append("char-usb_device")
        groups.append(edgetpu.GROUP)
    if coral is not None and _may_be(coral, "pci"):
        devices.append("char-apex")
        groups.append(edgetpu.apex_group(root, besides=rules) or edgetpu.GROUP)
    if isinstance(named, Served):
        socket = Path(named.path).absolute()
        groups.append(_group_of(socket, root) if (root / socket.relative_to("/")).exists() else SERVED_GROUP)
    word = words.parse(source)
    if word.kind is words.Kind.CAMERA:
        devices.append(f"/dev/video{int(word.place)}")
        groups.append("video")
    if word.kind is words.Kind.PICAMERA:  # libcamera opens what it finds, and buffers from the kernel's heaps
        devices += ["char-video4linux", "char-media", "char-dma_heap"]
        groups.append("video")
    for node in others:
        devices.append(str(node))
        groups.append(_group_of(node, root))
    _check_groups(groups, root)
    return Access(
        devices=tuple(dict.fromkeys(devices)),
        groups=tuple(dict.fromkeys(group for group in groups if group != "root")),
        is_usb="char-usb_device" in devices,
        binds_cores=isinstance(named, Cpu) and bool(named.cores),
    )


def udev_rules(access: Access, *, rules: str = "", root: Path = Path("/")) -> str:
    """The contents of our file of rules; empty where none is needed."""
    lines = list(edgetpu.USB_RULES) if access.is_usb else []
    if "char-apex" in access.devices and edgetpu.apex_group(root, besides=rules) is None:
        lines.append(f'SUBSYSTEM=="apex", GROUP="{edgetpu.GROUP}", MODE="0660"')
    return "".join(f"{line}\n" for line in lines)


def _may_be(coral: Coral, bus: str) -> bool:
    return coral.device.startswith(bus) or not coral.device.startswith(("usb", "pci"))


def _group_of(node: Path, root: Path) -> str:
    try:
        owner = (root / node.relative_to("/")).stat().st_gid
    except OSError as cause:
        raise errors.SettingsError(
            f"device {node}: {cause.strerror}; it has to be there now, for its group is that of the service then"
        ) from cause
    return next((name for name, number in _groups(root).items() if number == owner), str(owner))


def _check_groups(wanted: Sequence[str], root: Path) -> None:
    """systemd starts no service whose groups are not there."""
    for group in wanted:
        if group not in _groups(root) and not group.isdigit():
            raise errors.SettingsError(
                f"there is no group {group!r} to own the device here: sudo groupadd --system {group}"
            )


def _groups(root: Path) -> dict[str, int]:
    try:
        lines = (root / "etc/group").read_text("utf-8").splitlines()
    except OSError as cause:
        raise errors.DeviceError(
            f"{root / 'etc/group'} cannot be read ({cause.strerror}): the groups of the system that the service is for "
            "stand in it; give the --root of a whole system"
        ) from cause
    return {
        fields[0]: int(fields[2])
        for fields in (line.split(":") for line in lines)
        if len(fields) > 2 and fields[2].isdigit()
    }
