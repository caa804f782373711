"""`tflsplit init`: a folder to begin with: package, broker, settings of edge and cloud, Compose file."""

import contextlib
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors, extras
from tflsplit.cli.output import examples, logs, screen
from tflsplit.cli.settings import beginnings

if TYPE_CHECKING:
    from edge_runtime.sources.words import Word

_PORT = 8883


def _asked(question: str, default: str | Callable[[], str], *, shown: str | None = None) -> Callable[..., Any]:
    """An option's callback that asks for what was not given, where there is somebody to answer."""

    def ask(context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
        if value is not None or context.resilient_parsing:
            return value or ""
        usual = default() if callable(default) else default
        if not sys.stdin.isatty():
            return usual
        return str(click.prompt(question, default=usual, show_default=shown or bool(usual), err=True))

    return ask


@click.command(
    epilog=examples.epilog(
        "tflsplit init home --model model.h5 --labels labels.txt --source camera:0",
        "tflsplit init home --model model.tflsplit --device cam1 --edge-elsewhere",
    )
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="A package, or a model file, which is converted.")
@click.option(
    "--labels", callback=_asked("Labels, one a line (empty: none)", ""), help="File with a label on each line."
)
@click.option(
    "--calibration",
    callback=_asked("Pictures like those it will see, to calibrate on (empty: the source's, or synthetic ones)", ""),
    help="Folder or file of inputs that a model file is calibrated on. Default: the source, if it is a folder or file.",
)
@click.option("--deployment", callback=_asked("Name of the deployment", "home"), help="Its name. Default: home.")
@click.option("--device", callback=_asked("Name of the edge device", "cam1"), help="Name of the edge. Default: cam1.")
@click.option(
    "--broker",
    "host",
    callback=_asked("Name or address of the machine with the broker", socket.gethostname),
    help="Host name or address by which others reach the broker. Default: this machine's name.",
)
@click.option(
    "--source",
    callback=_asked("Source: a folder, a file, camera:0, watch:FOLDER, rtsp://…", "camera:0"),
    help="Where the edge gets its inputs, as `tflsplit edge --source`. Default: camera:0.",
)
@click.option("--edge-elsewhere", "is_elsewhere", is_flag=True, help="The edge runs on a machine of its own.")
def command(
    folder: Path,
    *,
    model: Path | None,
    labels: str,
    calibration: str,
    deployment: str,
    device: str,
    host: str,
    source: str,
    is_elsewhere: bool,
) -> None:
    """Begin a deployment: package, broker, settings.

    DIR gets the package, a broker with credentials, settings of an edge and a cloud, and a Compose file. What is not
    given is asked for in a terminal, and is as each option's default says elsewhere. DIR must not exist.
    """
    from edge_runtime.sources import words

    if model is None:
        asked = _asked("Model file or package", "")(click.get_current_context(), click.Option(["--model"]), None)
        if not asked:
            raise click.UsageError("Missing option '--model': give a package, or a model file.")
        model = Path(asked)
    word = words.parse(source)
    if word.path is not None and is_elsewhere and not word.path.is_absolute():
        raise errors.SettingsError(f"source {source}: the edge runs elsewhere; give the whole path that it has there")
    if word.path is not None:
        source = source.removesuffix(word.place) + str(word.path.absolute())
    with _made(folder):
        samples = calibration or (source if word.kind is words.Kind.FILES and not is_elsewhere else "")
        _package(Path(os.path.expanduser(model)), folder / beginnings.PACKAGE, labels, samples)
        begun = _begun((deployment, device, host), folder, source, is_elsewhere=is_elsewhere)
        topic = _allowed(word, folder / beginnings.BROKER, device)
        for name, text in begun.files().items():
            (folder / name).write_text(text, "utf-8")
        _write_token(folder / beginnings.TOKEN, begun.user)
    _tell(folder, begun)
    if topic is not None:
        guests = f"{folder / beginnings.BROKER} NAME"
        screen.write(f"{device} may read {topic}; for whoever publishes it there:")
        screen.write(f"                  tflsplit broker add-device {guests} --role guest")
        screen.write(f"                  tflsplit broker allow {guests} --write '{topic}'")


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A new folder, which is removed again where the block fails."""
    with errors.disk_errors(folder):
        if os.path.lexists(folder):
            raise errors.SettingsError(f"{folder} exists already; give the name of a folder that is to be made")
        folder.mkdir(parents=True)
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _begun(names: tuple[str, str, str], folder: Path, source: str, *, is_elsewhere: bool) -> beginnings.Beginning:
    """Makes the broker's folder; what is written beside it follows from that."""
    from broker.deploy import folder as brokers

    deployment, device, host = names
    wanted, place = brokers.Wanted((device,)), folder / beginnings.BROKER
    brokers.init(place, wanted, deployment=deployment, hosts=(host,), port=_PORT)
    checkout = extras.checkout()
    return beginnings.Beginning(
        *(deployment, device, host, _PORT, source, *_owners(place)),
        is_elsewhere=is_elsewhere,
        checkout=None if checkout is None else str(checkout),
    )


def _allowed(word: "Word", broker: Path, device: str) -> str | None:
    """The topic of the edge's own broker that its source is, which it may read then; None for another source."""
    from broker.deploy import folder as brokers
    from edge_runtime.sources import words

    read = words.subscription(word.place) if word.kind is words.Kind.TOPIC else None
    if read is None or read.broker is not None:
        return None
    brokers.allow(broker, (device,), reads=(read.topic,), writes=())
    return read.topic


def _package(model: Path, out: Path, labels: str, calibration: str) -> None:
    """A copy of a package, or what a model file is converted to."""
    import tflsplit
    from tflsplit.package import reading

    if (model / "manifest.json").is_file():
        shutil.copytree(reading.open_package(model).path, out)
        return
    tflsplit.convert(model, out, calibration=calibration or None, labels=labels or None, on_stage=logs.progress)


def _owners(place: Path) -> tuple[str, str]:
    """uid:gid of who runs edge and cloud in containers, and of who runs the broker. What root made is given to a user
    of its own, for nothing in a container runs as root."""
    clients, server = place / "clients", place / "server"
    if os.geteuid() == 0:
        for each in (clients, *clients.rglob("*")):
            os.chown(each, beginnings.CONTAINER_USER, beginnings.CONTAINER_USER)
        place.chmod(0o711)
    user, broker_user = (f"{found.st_uid}:{found.st_gid}" for found in (clients.stat(), server.stat()))
    return user, broker_user


def _write_token(path: Path, user: str) -> None:
    """What a browser has to give for the page, which a container serves on all addresses."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(secrets.token_urlsafe(18) + "\n")
    os.chown(path, *map(int, user.split(":")))


def _with_containers(folder: Path, host: str) -> str:
    if host in ("localhost", "127.0.0.1", "::1"):
        return f"none can reach {host}, which in each of them is itself; begin with another --broker for that"
    return f"cd {folder} && docker compose up; then http://127.0.0.1:8080, token in {beginnings.TOKEN}"


def _tell(folder: Path, begun: beginnings.Beginning) -> None:
    lines = [
        f"{folder}: deployment {begun.deployment} with edge {begun.device}, a cloud, and a broker for {begun.host}",
        f"with containers:  {_with_containers(folder, begun.host)}",
        f"without:          tflsplit broker run {folder}/{beginnings.BROKER}",
        f"                  tflsplit cloud --config {folder}/cloud.toml",
    ]
    if not begun.is_elsewhere:
        lines.append(f"                  tflsplit edge --config {folder}/edge.toml")
    else:
        carried = f"{beginnings.PACKAGE}, edge.toml, compose.edge.yaml and {beginnings.BROKER}/clients/{begun.device}"
        lines.append(f"to the edge's machine, in a folder of the same layout: {carried}")
        lines.append("there, in it:     tflsplit edge --config edge.toml")
    for line in lines:
        screen.write(line)
