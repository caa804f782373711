"""What a machine that runs a deployment's broker has and lacks; for `tflsplit doctor --role broker`."""

import datetime
import os
import re
import resource
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from broker.deploy import authority, folder, layout, mosquitto, process
from broker.deploy.ledger import Ledger
from broker.local.server import mosquitto_path
from tflsplit import errors
from tflsplit.findings import Finding, State

_SOON_DAYS = 30
_CONNECT_S = 2.0
# Mosquitto writes its state into a new file beside the old one; and this much may wait for a single client.
_STATE, _WAITING_BYTES = "mosquitto.db", 16 << 20
_LIMIT = re.compile(r"^Max open files +(\d+)", re.MULTILINE)
_SETTING = re.compile(r"^(\w+)[ \t]+(.+?)[ \t]*$", re.MULTILINE)


def findings(path: Path | None) -> Iterator[Finding]:
    """`path` is a folder that `tflsplit broker init` made; without it only the machine is looked at. SettingsError if
    it is none."""
    found = mosquitto_path()
    if found is None:
        yield Finding("mosquitto", State.MISSING, "not installed", "sudo apt install mosquitto")
    else:
        yield Finding("mosquitto", State.OK, str(found))
    book = None if path is None else folder.read(path)
    if book is not None and book.others:
        raise errors.SettingsError(
            f"{path} is of several brokers: run `tflsplit doctor --role broker` on the machine of each, without "
            "--deployment-folder"
        )
    pid = None if path is None else process.running(path)
    yield _open_files(pid, book)
    if path is None or book is None:
        return
    yield _saving(path / layout.SERVER, len(book.identities))
    yield _certificate(path)
    yield _clients(path)
    yield _key(path / layout.SERVER / mosquitto.KEY)
    yield _listening(path, book, pid)
    yield _disk(path / layout.SERVER / mosquitto.DATA)


def _open_files(pid: int | None, book: Ledger | None) -> Finding:
    """Of the broker that runs, else of what `tflsplit broker run` would get here."""
    whose, (_, files) = "a broker started here", resource.getrlimit(resource.RLIMIT_NOFILE)
    if pid is not None:
        # Everybody may read this; prlimit asks for a capability where root's broker has become another user.
        told = _LIMIT.search(Path(f"/proc/{pid}/limits").read_text("utf-8"))
        if told is not None:
            whose, files = "the broker that runs", int(told[1])
    serves = process.clients_allowed(files)
    names = 0 if book is None else len(book.identities)
    detail = f"{whose} serves {serves:,} clients at a time"
    if serves < names:
        remedy = (
            "raise the hard limit (LimitNOFILE= of the unit, nofile in limits.conf, ulimits in Compose), and restart"
        )
        return Finding("open files", State.WRONG, f"{detail}, and {names:,} have a name", remedy)
    return Finding("open files", State.OK, detail + (f"; {names:,} have a name" if book else ""))


def _saving(server: Path, names: int) -> Finding:
    """A broker that saves after changes writes all it holds each time, so the cost is devices times frames."""
    with errors.disk_errors(server, "cannot be read ({})"):
        settings = dict(_SETTING.findall((server / mosquitto.CONFIG).read_text("utf-8")))
    interval, usual_s = settings.get("autosave_interval", "1800"), mosquitto.save_interval_s(names)
    remedy = (
        f"set `persistence true`, `autosave_on_changes false` and `autosave_interval {usual_s}` in "
        f"{server / mosquitto.CONFIG}, and restart the broker"
    )
    if settings.get("persistence") != "true":
        detail = "off: durable sessions and what is retained end with the broker"
        return Finding("autosave", State.CAUTION, detail, remedy)
    if settings.get("autosave_on_changes") == "true":
        detail = f"everything is written after each {interval} changes: with many devices the broker does nothing else"
        return Finding("autosave", State.WRONG, detail, remedy)
    if interval.isdigit() and int(interval) < usual_s:
        detail = f"every {interval} s: frames wait for each save, which is longer the more names there are ({names:,})"
        return Finding("autosave", State.CAUTION, detail, remedy)
    return Finding("autosave", State.OK, f"every {interval} s")


def _certificate(path: Path) -> Finding:
    place, remedy = path / layout.SERVER / mosquitto.CERTIFICATE, f"tflsplit broker rotate {path} --server"
    try:
        ends = authority.end_of(place.read_bytes())
    except (OSError, ValueError) as problem:
        return Finding("broker certificate", State.WRONG, f"{place}: {errors.one_line(problem)}", f"`{remedy}`")
    days = (ends - datetime.datetime.now(datetime.timezone.utc)).days
    if days < 0:
        return Finding("broker certificate", State.WRONG, f"ended on {ends:%Y-%m-%d}: nobody connects", f"`{remedy}`")
    detail = f"ends on {ends:%Y-%m-%d}, in {days:,} days"
    if days < _SOON_DAYS:
        return Finding("broker certificate", State.CAUTION, detail, f"`{remedy}`")
    return Finding("broker certificate", State.OK, detail)


def _clients(path: Path) -> Finding:
    ending = folder.ending(path, days=_SOON_DAYS)
    if not ending:
        return Finding("client certificates", State.OK, f"none ends within {_SOON_DAYS} days")
    shown = ", ".join(ending[:5]) + (f" and {len(ending) - 5:,} more" if len(ending) > 5 else "")
    remedy = f"`tflsplit broker rotate {path} --ending {_SOON_DAYS} --keep-old`, and carry the new ones to them"
    return Finding("client certificates", State.CAUTION, f"within {_SOON_DAYS} days end those of {shown}", remedy)


def _key(place: Path) -> Finding:
    with errors.disk_errors(place, "cannot be read ({})"):
        mode = place.stat().st_mode
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return Finding("key", State.WRONG, f"others can read {place}, and be the broker", f"`chmod 600 {place}`")
    return Finding("key", State.OK, "nobody else reads it")


def _listening(path: Path, book: Ledger, pid: int | None) -> Finding:
    try:
        socket.create_connection(("localhost", book.port), _CONNECT_S).close()
        answers = True
    except OSError:
        answers = False
    if answers and pid is not None:
        return Finding("listening", State.OK, f"on port {book.port}, process {pid}")
    if answers:
        remedy = "`ss -ltnp` says which; end it, or make the deployment with another --port"
        detail = (
            f"something listens on port {book.port}, and it is not this folder's broker, as far as may be seen here"
        )
        return Finding("listening", State.CAUTION, detail, remedy)
    return Finding("listening", State.WRONG, f"nothing on port {book.port}", f"`tflsplit broker run {path}`")


def _disk(data: Path) -> Finding:
    with errors.disk_errors(data, "cannot be looked at ({})"):
        free = shutil.disk_usage(data).free
        state = data / _STATE
        held = state.stat().st_size if state.exists() else 0
        is_writable = os.access(data, os.W_OK)
    detail = f"{free / 1e9:,.1f} GB free, the state has {held / 1e6:,.1f} MB"
    if free < held + _WAITING_BYTES:
        return Finding("disk", State.WRONG, f"{detail}: it cannot be saved", f"make room on the disk of {data}")
    return Finding("disk", State.OK, detail + ("" if is_writable else "; another user writes there"))
