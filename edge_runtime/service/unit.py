"""The text of the systemd unit that keeps an edge or a cloud running. Pure.

The service may do only what it needs: it runs as a user that exists only while it runs, writes its state directory
only, sees no home and no device except those named, and gets secrets as systemd credentials.
"""

from collections.abc import Mapping
from pathlib import Path

from tflsplit.values.classes import dataclass

# Where systemd keeps the state directories of services.
STATE = Path("/var/lib")

WATCHDOG_S = 30
# A cloud gives a tail a minute by default, and replaces its worker then.
_CLOUD_WATCHDOG_S = 120
_WATCHED = {
    "edge": "# The edge pings the watchdog after each frame it has processed: what hangs in a driver is started again.",
    "cloud": "# The cloud pings the watchdog while it looks for frames: what hangs in a tail is started again.",
}

_UNIT = """\
# Written by `tflsplit install-service`; `systemctl edit {name}` adds to it and survives the next installation.
[Unit]
Description=tflsplit {role} ({config})
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
{watched}
WatchdogSec={watchdog_s}
TimeoutStartSec=120
# It stops within a second or two where nothing is out; otherwise it waits this long for what is.
TimeoutStopSec={stop_s}
Restart={restart}
RestartSec=2
DynamicUser=yes
{groups}StateDirectory={name}
StateDirectoryMode=0700
CacheDirectory={name}
CacheDirectoryMode=0700
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
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# For the process that tries a new model: it gives up rights. Older systemd has no set for them, and none names them.
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
{calls}SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What an edge needs of the machine: `devices` as `DeviceAllow=` takes them, the groups to which they belong, and
    whether it binds itself to cores."""

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    is_usb: bool = False
    binds_cores: bool = False

    def beside(self, other: "Access") -> "Access":
        """What both need."""
        return Access(
            tuple(dict.fromkeys((*self.devices, *other.devices))),
            tuple(dict.fromkeys((*self.groups, *other.groups))),
            self.is_usb or other.is_usb,
            self.binds_cores or other.binds_cores,
        )


@dataclass(frozen=True, slots=True)
class Credential:
    """A file that only root may read, which systemd shows to this service only; `is_encrypted` by systemd-creds."""

    name: str
    file: Path
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """`command` is the program and its arguments. `credential_options` are added to it: an option and the name of its
    credential, empty for the folder of all credentials. An edge that `is_bounded` ends by itself."""

    name: str
    config: Path
    command: tuple[str, ...]
    access: Access
    credentials: tuple[Credential, ...]
    credential_options: Mapping[str, str]
    is_bounded: bool
    stop_s: int
    role: str = "edge"


def render(service: Service) -> str:
    access = service.access
    return _UNIT.format(
        name=service.name,
        config=_escaped(str(service.config)),
        command=_command(service),
        role=service.role,
        watched=_WATCHED[service.role],
        watchdog_s=_CLOUD_WATCHDOG_S if service.role == "cloud" else WATCHDOG_S,
        stop_s=service.stop_s,
        # A bounded run must not start again after its end.
        restart="on-failure" if service.is_bounded else "always",
        groups=f"SupplementaryGroups={' '.join(access.groups)}\n" if access.groups else "",
        credentials="".join(map(_credential, service.credentials)),
        devices=_devices(access),
        # libusb learns through netlink that a device has come back.
        calls="SystemCallFilter=sched_setaffinity\n" if access.binds_cores else "",
    )


def _command(service: Service) -> str:
    words = [_word(word) for word in service.command]
    for option, name in service.credential_options.items():
        words += [option, f"%d/{name}" if name else "%d"]
    return " ".join(words)


def _devices(access: Access) -> str:
    """Without devices the service gets an empty /dev, and sees all other users as nobody."""
    if not access.devices:
        return "PrivateDevices=yes\nPrivateUsers=yes\n"
    return "".join(f"DeviceAllow={device} rw\n" for device in access.devices)


def _credential(credential: Credential) -> str:
    setting = "LoadCredentialEncrypted" if credential.is_encrypted else "LoadCredential"
    return f"{setting}={credential.name}:{_escaped(str(credential.file))}\n"


def _word(text: str) -> str:
    """Quoted as systemd reads a command line: quotes keep spaces; $ and % are doubled to stand for themselves."""
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"' if any(sign in escaped for sign in " \t'\"\\;") else escaped


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
