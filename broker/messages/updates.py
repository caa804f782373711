"""The messages between an operator and a device for updating the device's model. Pure, like `wire`.

control     {"verb": "update", "offer": "<text>", "signature": "<hex>"}
            4s magic "TFSU" · 32s SHA-256 of a whole file · u64 offset · a piece of that file
telemetry   4s magic "TFSR" · {"offer": "<id>", "state": "receiving", …, "need": {"sha256": …, "start": …, "stop": …}}

The signature is of the exact text of an offer, so that nothing in the offer is read before its signature is checked.
The id of an offer is the beginning of the SHA-256 of its text. The device asks for ranges of files and the operator
sends pieces: after an interruption the device asks for what is missing, and neither side keeps a record of what was
sent.
"""

import enum
import hashlib
import json
import re
import struct
import urllib.parse
from collections.abc import Mapping
from typing import Any

from broker.messages import topics
from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass

MAGIC = b"TFSU"
REPORT_MAGIC = b"TFSR"  # other messages on this topic are JSON: `broker.messages.telemetry`
_PIECE = struct.Struct("<4s32sQ")
PIECE_HEADER_BYTES = _PIECE.size

_VERB = "update"
_MOST_CONTROL_BYTES = 16_384
_MOST_PIECE_BYTES = 1 << 20
_MOST_REPORT_BYTES = 16_384
_MOST_REASON = 500

# The most that a device accepts for a bundle, and for its manifest: 2 MB for the largest public models, with 800 cuts.
MOST_BYTES = 1 << 30
MOST_MANIFEST_BYTES = 16 << 20

# Why a device refuses an offer that it may take later.
ON_PROBATION = "the previous model is still on probation; push again when that is over"

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{128}", re.ASCII)


class State(str, enum.Enum):
    """The state of a device's update. The last three are final for an offer."""

    IDLE = "idle"
    RECEIVING = "receiving"
    TESTING = "testing"
    PROBATION = "probation"
    INSTALLED = "installed"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"

    @property
    def is_final(self) -> bool:
        return self in (State.INSTALLED, State.ROLLED_BACK, State.REFUSED)


def is_folder_url(url: str) -> bool:
    """Whether it is of a folder on a web server, with nothing else in it: no user, query, or way out of that folder."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    is_plain = parts.scheme in ("http", "https") and parts.netloc and not (parts.query or parts.fragment)
    levels = urllib.parse.unquote(parts.path).split("/")
    return bool(is_plain) and "@" not in parts.netloc and not {".", ".."}.intersection(levels)


@dataclass(frozen=True, slots=True)
class Offer:
    """`package` is the package's digest, `cut` a cut's id. `manifest_sha256` is of the bundle's manifest, which lists
    all other files; together they have `total_bytes`. `serial` grows with each offer to a device. `url` is the bundle's
    folder on a web server; None: the operator sends pieces.
    """

    deployment: str
    device: str
    package: str
    name: str
    cut: str
    manifest_sha256: str
    manifest_bytes: int
    total_bytes: int
    serial: int
    url: str | None = None

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        topics.check_name("device", self.device)
        for name in ("package", "manifest_sha256"):
            if _SHA256.fullmatch(getattr(self, name)) is None:
                raise errors.FrameError(f"offer: {name} is no SHA-256 in 64 hexadecimal digits")
        if not 0 < self.manifest_bytes <= MOST_MANIFEST_BYTES:
            raise errors.FrameError(f"offer: a manifest of {self.manifest_bytes} bytes, {MOST_MANIFEST_BYTES} at most")
        if not self.manifest_bytes <= self.total_bytes <= MOST_BYTES:
            raise errors.FrameError(f"offer: a bundle of {self.total_bytes} bytes, {MOST_BYTES} at most")
        if not 0 < self.serial < 1 << 63:
            raise errors.FrameError(f"offer: serial {self.serial}, expected 1 to {(1 << 63) - 1}")

    def text(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Signed:
    """An offer whose signature is not checked yet."""

    text: bytes
    signature: bytes

    @property
    def id(self) -> str:
        return sha256(self.text)[:16]

    def as_json(self) -> bytes:
        fields = {"verb": _VERB, "offer": self.text.decode(), "signature": self.signature.hex()}
        return json.dumps(fields, separators=(",", ":")).encode()

    def offer(self) -> Offer:
        """The parsed offer, to be called after the signature is checked. FrameError if the text is no offer."""
        fields = _object(self.text, "offer")
        kinds = {name: int if name.endswith("_bytes") or name == "serial" else str for name in Offer.__slots__}
        _check_fields(fields, kinds, "offer", may_be_none=("url",))
        try:
            return Offer(**fields)
        except errors.SettingsError as problem:
            raise errors.FrameError(f"offer: {problem}") from problem


@dataclass(frozen=True, slots=True)
class Piece:
    sha256: str
    offset: int
    data: bytes

    def encode(self) -> bytes:
        return _PIECE.pack(MAGIC, bytes.fromhex(self.sha256), self.offset) + self.data


@dataclass(frozen=True, slots=True)
class Need:
    """A range of a file that a device asks for."""

    sha256: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Report:
    """A device's report on an offer. `percent` of the bundle's bytes are on the device."""

    offer: str
    state: State
    percent: int | None = None
    reason: str | None = None
    need: Need | None = None

    def encode(self) -> bytes:
        fields: dict[str, object] = {"offer": self.offer, "state": self.state.value}
        if self.percent is not None:
            fields["percent"] = self.percent
        if self.reason is not None:
            fields["reason"] = self.reason[:_MOST_REASON]
        if self.need is not None:
            fields["need"] = {name: getattr(self.need, name) for name in Need.__slots__}
        return REPORT_MAGIC + json.dumps(fields, separators=(",", ":")).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parse_control(data: bytes) -> Signed | Piece | None:
    """A message on `control`; None for other verbs. FrameError if it is damaged or too long."""
    if data[: len(MAGIC)] == MAGIC:
        return _piece(data)
    if len(data) > _MOST_CONTROL_BYTES:
        raise errors.FrameError(f"control message of {len(data)} bytes, {_MOST_CONTROL_BYTES} at most")
    fields = _object(data, "control message")
    if fields.get("verb") != _VERB:
        return None
    _check_fields(fields, {"verb": str, "offer": str, "signature": str}, "control message")
    if _SIGNATURE.fullmatch(fields["signature"]) is None:
        raise errors.FrameError("control message: signature is not 128 hexadecimal digits")
    try:
        return Signed(fields["offer"].encode(), bytes.fromhex(fields["signature"]))
    except UnicodeEncodeError as problem:
        raise errors.FrameError("control message: offer is no text") from problem


def parse_report(data: bytes) -> Report | None:
    """A message on `telemetry`; None for telemetry of another kind. FrameError for a damaged one."""
    if data[: len(REPORT_MAGIC)] != REPORT_MAGIC:
        return None
    if len(data) > _MOST_REPORT_BYTES:
        raise errors.FrameError(f"telemetry: a report of {len(data)} bytes, {_MOST_REPORT_BYTES} at most")
    fields = _object(data[len(REPORT_MAGIC) :], "telemetry")
    try:
        need = Need(**fields["need"]) if "need" in fields else None
        reason = fields.get("reason")
        if isinstance(reason, str):  # it goes to a terminal
            reason = "".join(letter if letter.isprintable() else "?" for letter in reason[:_MOST_REASON])
        report = Report(fields["offer"], State(fields["state"]), fields.get("percent"), reason, need)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise errors.FrameError(f"telemetry: no report of an update ({problem!r})") from problem
    if not isinstance(report.offer, str) or _ID.fullmatch(report.offer) is None:
        raise errors.FrameError("telemetry: a report of no offer")
    if type(report.percent) not in (int, type(None)) or not isinstance(report.reason, str | None):
        raise errors.FrameError("telemetry: a report whose percent or reason is none")
    if need is not None:
        _check_need(need)
    return report


def _piece(data: bytes) -> Piece:
    if not _PIECE.size < len(data) <= _PIECE.size + _MOST_PIECE_BYTES:
        raise errors.FrameError(
            f"piece of {len(data)} bytes, expected {_PIECE.size} and up to {_MOST_PIECE_BYTES} more"
        )
    _, sha256, offset = _PIECE.unpack_from(data)
    return Piece(sha256.hex(), offset, data[_PIECE.size :])


def _check_need(need: Need) -> None:
    if not isinstance(need.sha256, str) or _SHA256.fullmatch(need.sha256) is None:
        raise errors.FrameError("telemetry: a need of no file")
    if type(need.start) is not int or type(need.stop) is not int or not 0 <= need.start < need.stop <= MOST_BYTES:
        raise errors.FrameError("telemetry: a need of no range")


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = strict_json.parse(data)
    except (ValueError, RecursionError) as problem:
        raise errors.FrameError(f"{what}: no JSON ({str(problem)[:80]})") from problem
    if not isinstance(found, dict):
        raise errors.FrameError(f"{what}: no JSON object")
    return found


def _check_fields(
    fields: Mapping[str, Any], kinds: Mapping[str, type], what: str, *, may_be_none: tuple[str, ...] = ()
) -> None:
    """FrameError unless these keys are there and no others, each of its type."""
    if fields.keys() != kinds.keys():
        odd = ", ".join(sorted(fields.keys() ^ kinds.keys()))
        raise errors.FrameError(f"{what}: keys missing or unknown: {odd[:200]}")
    for name, kind in kinds.items():
        if type(fields[name]) is not kind and not (name in may_be_none and fields[name] is None):
            raise errors.FrameError(f"{what}: {name} is no {kind.__name__}")
