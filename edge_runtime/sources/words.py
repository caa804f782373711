"""What `--source` may say: one parser for the edge, the checks of its settings and its service.

A word with another beginning than these is a path, whatever colons it holds.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tflsplit import arguments, errors
from tflsplit.values.classes import dataclass, field

WRITTEN = "camera:N, picamera:N, watch:FOLDER, stdin:, video:FILE, topic:TOPIC, mqtt(s)://…, rtsp://… or http(s)://…"


class Kind(str, Enum):
    FILES = "files"
    CAMERA = "camera"
    PICAMERA = "Raspberry Pi camera"
    WATCHED = "watched folder"
    STDIN = "standard input"
    VIDEO = "video file"
    NETWORK = "network camera"
    TOPIC = "topic of pictures"


_BROKERS = ("mqtt://", "mqtts://")
_BEGINNINGS = {
    "camera:": Kind.CAMERA,
    "picamera:": Kind.PICAMERA,
    "watch:": Kind.WATCHED,
    "stdin:": Kind.STDIN,
    "video:": Kind.VIDEO,
    **dict.fromkeys(("topic:", *_BROKERS), Kind.TOPIC),
    **dict.fromkeys(("rtsp://", "rtsps://", "http://", "https://"), Kind.NETWORK),
}
_NEEDS = {
    Kind.CAMERA: ("a camera source", "cv2"),
    Kind.VIDEO: ("a video file", "av"),
    Kind.NETWORK: ("a network camera", "av"),
}


class Word(NamedTuple):
    """`place` is what follows: a number, a path, or the whole address. `shown` is for logs: without a password."""

    kind: Kind
    place: str
    shown: str

    @property
    def ends(self) -> bool:
        """Whether there is a last input, after which a service would begin again."""
        return self.kind in (Kind.FILES, Kind.VIDEO, Kind.STDIN)

    @property
    def path(self) -> Path | None:
        """The file or folder that has to be there."""
        named = self.kind in (Kind.FILES, Kind.VIDEO, Kind.WATCHED)
        return arguments.path(self.place, "source") if named else None

    @property
    def module(self) -> tuple[str, str] | None:
        """What needs a library of an extra, and the module."""
        return _NEEDS.get(self.kind)


@dataclass(frozen=True, slots=True)
class Subscription:
    """`broker` is the address of another one than the edge's own, without its password."""

    topic: str
    broker: str | None = None
    password: str | None = field(default=None, repr=False)


def parse(text: str) -> Word:
    """SettingsError for a word that begins as one of ours and goes on wrongly."""
    beginning = next((each for each in _BEGINNINGS if text.startswith(each)), None)
    if beginning is None:
        return Word(Kind.FILES, text, text)
    kind = _BEGINNINGS[beginning]
    is_address = beginning.endswith("://")
    place = text if is_address else text.removeprefix(beginning)
    _CHECKS[kind](text, place)
    return Word(kind, place, without_password(text) if is_address else text)


def subscription(place: str) -> Subscription:
    """Of a topic, or of `mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC`. ValueError says what is wrong."""
    if not place.startswith(_BROKERS):
        return Subscription(_filter(place))
    scheme, _, rest = place.partition("://")
    where, _, topic = rest.partition("/")
    parts = urlsplit(f"//{where}")
    host, _ = parts.hostname, parts.port
    if not host:
        raise ValueError("no host")
    user, at, address = where.rpartition("@")
    name = user.partition(":")[0]
    password = None if parts.password is None else unquote(parts.password)
    return Subscription(_filter(topic), f"{scheme}://{name}{at}{address}", password)


def _filter(topic: str) -> str:
    levels = topic.split("/")
    if not topic or not topic.isprintable() or len(topic.encode()) > 65_535:
        raise ValueError("no topic")
    if (
        any(("+" in level and level != "+") or ("#" in level and level != "#") for level in levels)
        or "#" in levels[:-1]
    ):
        raise ValueError("+ stands for one whole level of a topic, # for all that follow")
    return topic


def is_word(text: str) -> bool:
    """Whether it is more than a path, in its beginning."""
    return text.startswith(tuple(_BEGINNINGS))


def beside(text: str, folder: Path) -> str:
    """The same with a path in it that is relative to the folder, as in a file of settings."""
    for beginning in ("watch:", "video:"):
        place = text.removeprefix(beginning)
        if place not in (text, "") and not place.startswith("~"):
            return f"{beginning}{folder / place}"
    return text


def without_password(url: str) -> str:
    """An address as it may be logged: user, password and query, which may be a token, left out."""
    cut = re.sub(r"(?<=://)[^/?#]*@", "***@", url)
    return re.sub(r"\?.*", "?***", cut, flags=re.DOTALL)


def _number(text: str, place: str) -> None:
    if not (place.isascii() and place.isdecimal()):
        raise errors.SettingsError(
            f"source {text!r}: write {text.removesuffix(place)}N with the camera's number, as camera:0"
        )


def _nothing(text: str, place: str) -> None:
    if place not in ("", "-"):
        raise errors.SettingsError(f"source {text!r}: nothing follows stdin: (pictures are read as they come)")


def _named(text: str, place: str) -> None:
    if not place:
        raise errors.SettingsError(f"source {text!r}: a path has to follow, as watch:/var/pictures or video:walk.mp4")


def _address(text: str, place: str) -> None:
    try:
        parts = urlsplit(place)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise errors.SettingsError(
            f"source {without_password(text)!r}: no address of a camera; write rtsp://USER:PASSWORD@HOST:PORT/PATH, "
            "with @ : / in the password written as %40 %3A %2F"
        )


def _topic(text: str, place: str) -> None:
    try:
        subscription(place)
    except ValueError as wrong:
        raise errors.SettingsError(
            f"source {without_password(text)!r}: {wrong}; write topic:TOPIC, or for another broker than the edge's own "
            "mqtt://USER:PASSWORD@HOST:PORT/TOPIC (mqtts:// for TLS), with @ : / in the password as %40 %3A %2F"
        ) from None


_CHECKS: Mapping[Kind, Callable[[str, str], None]] = {
    Kind.CAMERA: _number,
    Kind.PICAMERA: _number,
    Kind.WATCHED: _named,
    Kind.STDIN: _nothing,
    Kind.VIDEO: _named,
    Kind.NETWORK: _address,
    Kind.TOPIC: _topic,
}
