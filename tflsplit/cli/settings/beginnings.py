"""The files with which a deployment begins: settings of an edge and a cloud, and a Compose file for all of it. Pure."""

import tflsplit
from broker.deploy import layout, mosquitto, supervision
from edge_runtime.sources import words
from tflsplit.values.classes import dataclass, replace

# As deploy/Dockerfile has it.
CONTAINER_USER = 10001
PACKAGE = "model.tflsplit"
BROKER = "broker"
TOKEN = "watch-token"  # noqa: S105 - the name of a file
_INSIDE = "/deployment"

_EDGE = """\
# The edge {device} of deployment {deployment}. `tflsplit config template edge` prints all other settings.
#     tflsplit config check edge.toml
#     tflsplit edge --config edge.toml
[edge]
package = "{package}"
credentials = "{broker}/clients/{device}"
source = {source}
"""

_CLOUD = """\
# A cloud of deployment {deployment}. `tflsplit config template cloud` prints all other settings.
#     tflsplit config check cloud.toml
#     tflsplit cloud --config cloud.toml
[cloud]
package = ["{package}"]
credentials = "{broker}/clients/cloud"
"""

_COMPOSE_HEAD = """\
# Written by `tflsplit init`. In this folder: docker compose {file}up --detach
{images}services:
"""

_IMAGES = """\
# The images are made in a checkout, where TARGET is each of {targets}:
#     docker build --file deploy/Dockerfile --target TARGET --tag tflsplit-TARGET:{version} .
"""

_BUILD = """\
    build:
      context: {checkout}
      dockerfile: deploy/Dockerfile
      target: {name}
"""

_SERVICE = """\
  {name}:
    image: tflsplit-{name}:{version}
{build}    command: {command}
    user: "{user}"
    volumes:
{volumes}
{more}    read_only: true
    tmpfs: ["/tmp"]
    cap_drop: ["ALL"]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
    logging:
      driver: local
"""

_BROKER_NAME = """\
    networks:
      default:
        # The name in the broker's certificate, which the others ask for.
        aliases: ["{host}"]
"""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a deployment begins with; `source` has its whole path. `user` and `broker_user`, as uid:gid, own credentials
    and the broker's files. The edge `is_elsewhere` where it runs on a machine of its own.
    """

    deployment: str
    device: str
    host: str
    port: int
    source: str
    user: str
    broker_user: str
    is_elsewhere: bool = False
    checkout: str | None = None

    def files(self) -> dict[str, str]:
        """Each file's text by its name."""
        words = {"deployment": self.deployment, "device": self.device, "package": PACKAGE, "broker": BROKER}
        found = {"edge.toml": _EDGE.format(**words, source=_quoted(self.source)), "cloud.toml": _CLOUD.format(**words)}
        if self.is_elsewhere:
            return found | {"compose.yaml": self._compose(has_edge=False), "compose.edge.yaml": self._edge_alone()}
        return found | {"compose.yaml": self._compose(has_edge=True)}

    def _compose(self, *, has_edge: bool) -> str:
        page = '    ports:\n      - "127.0.0.1:8080:8080"\n'
        serve = ["--serve", "0.0.0.0:8080", "--token-file", f"{_INSIDE}/{TOKEN}"]
        names = ("cloud", "watch", "edge") if has_edge else ("cloud", "watch")
        waits = "    depends_on: [broker]\n"
        return "".join(
            (
                _COMPOSE_HEAD.format(file="", images="" if self.checkout else _images(*names)),
                self._broker(),
                self._service("cloud", ["--config", f"{_INSIDE}/cloud.toml"], ("cloud.toml", PACKAGE), "cloud", waits),
                self._service(
                    "watch",
                    ["--credentials", f"{_INSIDE}/{_client('consumer')}", *serve],
                    (TOKEN,),
                    "consumer",
                    waits + page,
                ),
                *([self._edge(waits)] if has_edge else []),
            )
        )

    def _broker(self) -> str:
        named = _BROKER_NAME.format(host=self.host)
        place = f"{BROKER}/{layout.SERVER}"
        return supervision.service(self.port, self.broker_user, config=mosquitto.CONFIG, server=place, more=named)

    def _edge_alone(self) -> str:
        head = _COMPOSE_HEAD.format(file="--file compose.edge.yaml ", images=_images("edge"))
        return head + replace(self, checkout=None)._edge("")

    def _edge(self, waits: str) -> str:
        path = words.parse(self.source).path
        files = ("edge.toml", PACKAGE, *([] if path is None else [str(path)]))
        return self._service("edge", ["--config", f"{_INSIDE}/edge.toml"], files, self.device, waits + self._devices)

    def _service(self, name: str, words: list[str], files: tuple[str, ...], client: str, more: str) -> str:
        """It sees these files, and the credentials of one client: not the authority's key."""
        shown = "[" + ", ".join(map(_quoted, [name, *words])) + "]"
        volumes = [(file, file) if file.startswith("/") else (f"./{file}", f"{_INSIDE}/{file}") for file in files]
        volumes.append((f"./{_client(client)}", f"{_INSIDE}/{_client(client)}"))
        lines = "\n".join(f"      - {_quoted(f'{outside}:{inside}:ro')}" for outside, inside in volumes)
        build = _BUILD.format(checkout=_quoted(self.checkout), name=name) if self.checkout else ""
        words_of = {"name": name, "version": tflsplit.__version__, "build": build, "command": shown, "user": self.user}
        return _SERVICE.format(**words_of, volumes=lines, more=more)

    @property
    def _devices(self) -> str:
        """A camera of this machine is a device file."""
        word = words.parse(self.source)
        if word.kind is not words.Kind.CAMERA:
            return ""
        return f'    devices: ["/dev/video{word.place}"]\n    group_add: ["video"]\n'


def _client(name: str) -> str:
    return f"{BROKER}/clients/{name}"


def _images(*targets: str) -> str:
    return _IMAGES.format(targets=", ".join(targets), version=tflsplit.__version__)


def _quoted(text: str) -> str:
    """As a string of TOML, and of YAML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
