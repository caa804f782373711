"""The page of `tflsplit watch --serve`: its addresses, and who may have them. It is only read from.

    /            the page; /watch.js, /watch.css, /style.css and /icon.svg belong to it
    /state       JSON: totals, clouds, and `count` devices from number `from` on of those whose text holds `find`
    /device      JSON of one device (`name`) with its charts of the last hour
    /picture     the last picture that a device (`name`) shared

A page of this machine alone answers only who calls it by a name of this machine: another site that has its own name
lead here must not read it through somebody's browser. Elsewhere a token is asked for.
"""

import base64
import binascii
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qs

from broker.messages.watched.picture import Picture
from broker.transport import credentials
from broker.watching.device import Device
from broker.watching.listener import Listener
from broker.watching.state import Deployment
from tflsplit import errors, private_files
from tflsplit.observing import server
from tflsplit.observing.server import Reply, Request
from tflsplit.report import document

_MOST_ROWS = 200
_LEAST_TOKEN = 16  # characters: nobody tries so many
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_JSON = "application/json; charset=utf-8"
_SCRIPT, _STYLE, _PAGE = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "text/html; charset=utf-8"
_FILES = {
    "/": ("watch.html", _PAGE),
    "/watch.js": ("watch.js", _SCRIPT),
    "/watch.css": ("watch.css", _STYLE),
    "/style.css": ("style.css", _STYLE),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_SAFE = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_ASKS = ("WWW-Authenticate", 'Basic realm="tflsplit watch: any name, and the token as the password"')


@contextmanager
def serving(heard: Listener, address: str, *, token_file: Path | None = None) -> Iterator[str]:
    """Serves the page until the block ends; gives its URL, without the token.

    SettingsError for an address beyond this machine without a token, DeviceError if the address cannot be had.
    """
    host, port = server.parse_address(address, "serve")
    token = _token(token_file) if token_file is not None else None
    if token is None and host not in _LOOPBACK:
        raise errors.SettingsError(
            f"serve address {address!r} is not for this machine alone: give --token-file FILE as well, so that only "
            "who has the token sees the page"
        )
    with server.Server(host, port, answer=Site(heard, token).answer, what="serve") as running:
        yield running.url


class Site:
    """`answer` is called on the threads of requests."""

    def __init__(self, heard: Listener, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._heard = heard
        self._token = token
        self._clock = clock

    def answer(self, request: Request) -> Reply:
        refused = self._refusal(request.headers)
        return _with_safety(refused or self._found(request.path, parse_qs(request.query)))

    def _refusal(self, headers: Mapping[str, str]) -> Reply | None:
        if self._token is not None:
            shown = _shown_token(headers.get("authorization", ""))
            if shown is None or not hmac.compare_digest(shown.encode(), self._token.encode()):
                return server.of_words(HTTPStatus.UNAUTHORIZED, "this page asks for its token", _ASKS)
        elif _name_of(headers.get("host", "")) not in _LOOPBACK:
            return server.of_words(
                HTTPStatus.FORBIDDEN, "this page is for http://localhost alone; serve it with a token"
            )
        return None

    def _found(self, path: str, query: Mapping[str, list[str]]) -> Reply:
        given = {name: values[0] for name, values in query.items()}
        if path in _FILES:
            name, kind = _FILES[path]
            return Reply(_file(name), kind)
        match path:
            case "/state":
                return self._state(given)
            case "/device" | "/picture":
                return self._of_device(path, given.get("name", ""))
        return server.of_words(HTTPStatus.NOT_FOUND, "there are /, /state, /device and /picture")

    def _state(self, given: Mapping[str, str]) -> Reply:
        first, count = _number(given.get("from"), 0), min(_number(given.get("count"), 50), _MOST_ROWS)
        wanted = given.get("find", "").casefold()
        with self._heard.reading() as found:
            now_s = self._clock()
            devices = [each for each in found.ordered(now_s) if _has(each, wanted)]
            told = {
                "deployment": found.name,
                **found.totals(now_s),
                "of_clouds": [cloud.as_json(now_s) for cloud in found.ordered_clouds()][:_MOST_ROWS],
                "of_workers": [worker.as_json(now_s) for worker in found.ordered_workers()][:_MOST_ROWS],
                "found": len(devices),
                "of_devices": [_row(found, each, now_s) for each in devices[first : first + count]],
                "rates": found.history.rates(now_s),
            }
        return _json({**told, "link": self._heard.link, "lost": self._heard.lost})

    def _of_device(self, path: str, name: str) -> Reply:
        with self._heard.reading() as found:
            now_s, device = self._clock(), found.devices.get(name)
            picture = found.pictures.get(name)
            told = None if device is None else {**_row(found, device, now_s), **device.charts(now_s)}
        if told is None:
            return server.of_words(HTTPStatus.NOT_FOUND, "no such device")
        if path == "/device":
            return _json(told)
        if picture is None:
            return server.of_words(HTTPStatus.NOT_FOUND, "the device shared no picture")
        return Reply(picture[1].jpeg, "image/jpeg")


def _row(found: Deployment, device: Device, now_s: float) -> dict[str, object]:
    at_s, picture = found.pictures.get(device.name, (now_s, None))
    return {**device.as_json(now_s), "picture": picture and _of_picture(picture, now_s - at_s)}


def _of_picture(picture: Picture, age_s: float) -> dict[str, object]:
    return {"captured_ms": picture.captured_ms, "s_ago": round(age_s, 1)}


def _has(device: Device, wanted: str) -> bool:
    """Whether a text is in what a person would look for."""
    if not wanted:
        return True
    label = device.answer.label if device.answer is not None else None
    shown = (device.name, device.birth.get("name"), device.birth.get("cut"), label)
    state = "online" if device.is_online else "offline"
    return any(wanted in each.casefold() for each in (*shown, state) if isinstance(each, str))


def _number(given: str | None, default: int) -> int:
    return int(given) if given is not None and given.isascii() and given.isdigit() and len(given) < 8 else default


def _json(told: object) -> Reply:
    return Reply(json.dumps(told, ensure_ascii=False).encode(errors="replace"), _JSON)


def _with_safety(reply: Reply) -> Reply:
    return Reply(reply.body, reply.content_type, reply.status, (*reply.headers, *_SAFE))


@cache
def _file(name: str) -> bytes:
    if name == "style.css":
        return document.style().encode()
    return (resources.files("broker.watching") / "page" / name).read_bytes()


def _name_of(host: str) -> str:
    """Of a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _shown_token(authorization: str) -> str | None:
    """What `Bearer TOKEN` or the password of `Basic …` shows."""
    scheme, _, shown = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return shown.strip()
        case "basic":
            try:
                return base64.b64decode(shown, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def _token(file: Path) -> str:
    """The first line of the file, which is made if there is none; SettingsError if it can be guessed."""
    try:
        made = private_files.open_file(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        token = credentials.read_password(file)
    except OSError as cause:
        raise errors.SettingsError(f"token file {file} cannot be made: {errors.one_line(cause)}") from cause
    else:
        token = secrets.token_urlsafe(24)
        with os.fdopen(made, "w") as stream:
            stream.write(f"{token}\n")
    if len(token) < _LEAST_TOKEN or not token.isascii():
        raise errors.SettingsError(
            f"token file {file}: the token must have at least {_LEAST_TOKEN} characters, all ASCII; remove the file to "
            "have one made"
        )
    return token
