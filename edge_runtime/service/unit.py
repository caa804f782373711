"""The text of the systemd unit that keeps an edge running, and of the udev rule that lets it at an Edge TPU. Pure.

The unit may do what an edge does and nothing else: it runs as a user that exists while it runs, writes its state
directory only, sees no home and no device but those named, and gets secrets as credentials of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Below which systemd keeps a service's own folders, whatever user it runs as this time.
STATE = Path("/var/lib")

WATCHDOG_S = 30

_UNIT = """\
# Written by `tflsplit install-service`; `systemctl edit {name}` adds to it and survives the next installation.
[Unit]
Description=tflsplit edge ({config})
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
# Fed after each frame that was really processed: one that hangs in a driver is started again.
WatchdogSec={watchdog_s}
TimeoutStartSec=120
# Within a second or two where a cloud answers; else as long as the edge waits for the last results.
TimeoutStopSec={stop_s}
Restart={restart}
RestartSec=2
DynamicUser=yes
{groups}StateDirectory={name}
StateDirectoryMode=0700
WorkingDirectory=%S/{name}
ConfigurationDirectory=tflsplit
{credentials}UMask=0077
MemoryMax=75%
OOMPolicy=stop
DevicePolicy=closed
{devices}ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies={families}
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
{calls}SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What of the machine an edge needs: `devices` as `DeviceAllow=` takes them, the groups to which they belong, and
    if it binds itself to cores."""

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    is_usb: bool = False
    binds_cores: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """A file that only root may read, and that systemd shows to the service alone; `is_encrypted` by systemd-creds."""

    name: str
    file: Path
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """`command` is the program and its arguments, `credential_options` what it is told about credentials: an option,
    and the name of a credential, or nothing for the folder of all of them. A `is_bounded` edge ends by itself."""

    name: str
    config: Path
    command: tuple[str, ...]
    access: Access
    credentials: tuple[Credential, ...]
    credential_options: Mapping[str, str]
    is_bounded: bool
    stop_s: int


def render(service: Service) -> str:
    access = service.access
    return _UNIT.format(
        name=service.name,
        config=_escaped(str(service.config)),
        command=_command(service),
        watchdog_s=WATCHDOG_S,
        stop_s=service.stop_s,
        # A bounded run that is over would begin again otherwise.
        restart="on-failure" if service.is_bounded else "always",
        groups=f"SupplementaryGroups={' '.join(access.groups)}\n" if access.groups else "",
        credentials="".join(map(_credential, service.credentials)),
        devices=_devices(access),
        # libusb hears through netlink that a device has come back.
        families="AF_UNIX AF_INET AF_INET6" + (" AF_NETLINK" if access.is_usb else ""),
        calls="SystemCallFilter=sched_setaffinity\n" if access.binds_cores else "",
    )


def _command(service: Service) -> str:
    words = [_word(word) for word in service.command]
    for option, name in service.credential_options.items():
        words += [option, f"%d/{name}" if name else "%d"]
    return " ".join(words)


def _devices(access: Access) -> str:
    """Where there is none, a /dev of its own with nothing in it, and users other than its own as nobody."""
    if not access.devices:
        return "PrivateDevices=yes\nPrivateUsers=yes\n"
    return "".join(f"DeviceAllow={device} rw\n" for device in access.devices)


def _credential(credential: Credential) -> str:
    setting = "LoadCredentialEncrypted" if credential.is_encrypted else "LoadCredential"
    return f"{setting}={credential.name}:{_escaped(str(credential.file))}\n"


def _word(text: str) -> str:
    """As systemd splits a command line: quotes keep spaces, and $ and % stand for themselves when doubled."""
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"' if any(sign in escaped for sign in " \t'\"\\;") else escaped


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
