"""What keeps the broker running: a systemd unit, or a compose file for containers.

Pure. Both run Mosquitto itself, in the folder of its configuration, as the user to whom that folder belongs.
"""

from pathlib import Path

UNIT = "tflsplit-broker.service"
COMPOSE = "compose.yaml"

# The broker reads its own folder and writes its data there; it never sees the authority's key nor the clients'.
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
LimitNOFILE=65536
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

# No tag that moves: a broker that changes its version by itself changes its limits by itself.
_COMPOSE = """\
# Written by `tflsplit broker init`. In this folder: docker compose up --detach
# After a change of the identities: docker compose kill --signal HUP broker
services:
  broker:
    image: eclipse-mosquitto:2.0.22
    command: ["mosquitto", "-c", "{config}"]
    working_dir: /deployment
    volumes:
      - ./server:/deployment
    ports:
      - "{port}:{port}"
    user: "{owner}"
    read_only: true
    cap_drop: ["ALL"]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
    stop_grace_period: 20s
    logging:
      driver: local
"""


def unit(deployment: str, folder: Path, server: Path, user: str, *, mosquitto: str, config: str) -> str:
    return _UNIT.format(
        deployment=deployment,
        folder=_quoted(folder),
        server=_quoted(server),
        user=user,
        mosquitto=mosquitto,
        config=config,
        unit=UNIT,
    )


def compose(port: int, uid: int, gid: int, *, config: str) -> str:
    return _COMPOSE.format(port=port, owner=f"{uid}:{gid}", config=config)


def _quoted(path: Path) -> str:
    """systemd reads % as a specifier; spaces are refused before, for not every setting takes quotes."""
    return str(path).replace("%", "%%")
