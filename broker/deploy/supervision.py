"""The systemd unit and the compose file that keep the broker running.

Pure. Both run Mosquitto in the folder of its configuration, as the owner of that folder.
"""

from pathlib import Path

UNIT = "tflsplit-broker.service"
COMPOSE = "compose.yaml"
OPEN_FILES = 65_536  # at most: each client is one

# The broker reads its own folder and writes its data there; it cannot see the keys of the authority and the clients.
_UNIT = """\
# Written by `tflsplit broker init`. To install:
#     ln -s {folder}/{unit} /etc/systemd/system/ && systemctl enable --now {unit}
# After a change of the identities: systemctl reload {unit}
[Unit]
Description=MQTT broker of tflsplit deployment {deployment}
Documentation=man:mosquitto.conf(5)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={mosquitto} -c {config}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={server}
User={user}
Restart=always
RestartSec=2
TimeoutStopSec=20
UMask=0077
LimitNOFILE={files}
MemoryMax=75%
# Wherever the folder lies, even below /home, only the broker's part of it is there for the broker.
ProtectSystem=strict
ProtectHome=tmpfs
PrivateTmp=yes
BindPaths={server}
InaccessiblePaths=-{folder}/authority -{folder}/clients
NoNewPrivileges=yes
CapabilityBoundingSet=
PrivateDevices=yes
PrivateUsers=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

# A fixed version: another version of the broker may have other limits.
_COMPOSE = """\
# Written by `tflsplit broker init`. In this folder: docker compose up --detach
# After a change of the identities: docker compose kill --signal HUP broker
services:
"""

_SERVICE = """\
  broker:
    # To run just this image and no later one of its tag, write its digest behind it: eclipse-mosquitto:2.0.22@sha256:…
    image: eclipse-mosquitto:2.0.22
    command: ["mosquitto", "-c", "{config}"]
    working_dir: /deployment
    volumes:
      - ./{server}:/deployment
    ports:
      - "{port}:{port}"
    user: "{owner}"
    read_only: true
    cap_drop: ["ALL"]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
    # Each client is an open file. At the usual 1,024 the 1,015th client would be reset.
    ulimits:
      nofile: {files}
    stop_grace_period: 20s
    logging:
      driver: local
{more}"""


def unit(deployment: str, folder: Path, server: Path, user: str, *, mosquitto: str, config: str) -> str:
    return _UNIT.format(
        deployment=deployment,
        folder=_quoted(folder),
        server=_quoted(server),
        user=user,
        mosquitto=mosquitto,
        config=config,
        unit=UNIT,
        files=OPEN_FILES,
    )


def compose(port: int, uid: int, gid: int, *, config: str) -> str:
    return _COMPOSE + service(port, f"{uid}:{gid}", config=config)


def service(port: int, owner: str, *, config: str, server: str = "server", more: str = "") -> str:
    """The broker in a Compose file beside whose folder `server` lies; `owner` is uid:gid, `more` are further lines."""
    return _SERVICE.format(port=port, owner=owner, config=config, server=server, more=more, files=OPEN_FILES)


def _quoted(path: Path) -> str:
    """Doubles %, which systemd reads as a specifier. Spaces were refused before: not every setting takes quotes."""
    return str(path).replace("%", "%%")
