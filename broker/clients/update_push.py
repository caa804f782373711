"""The operator's side of an update: offers a bundle to a device, sends the pieces it asks for, waits for the outcome.

The operator keeps no record of what a device has, and sends every range that is asked for. So a device that was away
continues where it was, and so does a push that is started again.
"""

import contextlib
import datetime
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from broker.messages import presence, topics, updates
from broker.messages.presence import Status
from broker.messages.updates import Need, Offer, Piece, Report, Signed, State
from broker.transport.protocol import Message, Transport, publish_packet_bytes
from tflsplit import errors, strict_json, text
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

# Small enough for a piece every 9 s on a link of 30 kbit/s, large enough that headers do not matter.
_PIECE_BYTES = 32 << 10
_LOOK_S = 0.2
_MOST_NAMES = 20  # in a message
# A device that is silent for so long gets the offer again: it may have been away before.
_REPEAT_S = 5.0
# How far a device's serial, which is a time, may be ahead of this machine's clock.
_MOST_AHEAD_MS = 366 * 86_400_000


class Signer(Protocol):
    """Signs with the key that devices trust."""

    def sign(self, text: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Device:
    """A device by its retained birth: its cut, and in `serial` the last offer it accepted. `candidates` are the ids of
    the cuts that it moves among, none where its cut stays."""

    name: str
    cut: str
    layer: str | None
    serial: int
    candidates: tuple[str, ...] = ()

    def cut_in(self, whole: Package) -> Cut:
        """The device's cut in another package: after the same layer, otherwise of the same id. CutError if neither
        exists."""
        if self.layer is not None:
            with contextlib.suppress(errors.CutError):
                return whole.cut(self.layer)
        found = whole.cut(self.cut)
        if self.layer is not None:
            log.warning(
                "the model has no layer of the name that the device cuts after, its cut of the same id is taken; "
                "--cut says otherwise device=%s cut=%s layer=%r payload_bytes=%d",
                self.name,
                found.id,
                found.layer,
                found.payload_bytes,
            )
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state` is the final state, or the last that the device reported before the time-out (None: it never did), and
    `reason` why it is that, or that the device is offline. `cut` is the id of the cut that was pushed."""

    device: str
    cut: str
    state: State | None
    reason: str | None
    seconds: float
    sent_bytes: int

    @property
    def is_installed(self) -> bool:
        return self.state is State.INSTALLED

    def as_json(self) -> dict[str, object]:
        return {
            "device": self.device,
            "cut": self.cut,
            "state": self.state.value if self.state else None,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "sent_bytes": self.sent_bytes,
        }


class Pusher:
    """One device at a time, over a transport that is online. `clock_ms` is the time since the epoch."""

    def __init__(
        self,
        transport: Transport,
        deployment: str,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        on_report: Callable[[Report], None] = lambda report: None,
    ) -> None:
        self._transport = transport
        self._deployment = deployment
        self._clock_ms = clock_ms
        self._on_report = on_report
        self._sent_bytes = 0
        self._statuses: dict[str, Status] = {}

    def look(self, device: str, *, wait_s: float) -> Device:
        """Reads a device's birth, and warns if it is offline. PeerError if none comes within `wait_s`, or if the device
        takes no updates."""
        topic = topics.topic(self._deployment, device, topics.Kind.BIRTH)
        self._transport.subscribe(topics.topic(self._deployment, device, topics.Kind.STATUS))
        self._transport.subscribe(topic)
        give_up_s = time.monotonic() + wait_s
        while time.monotonic() < give_up_s:
            message = self._next()
            if message is not None and message.topic == topic:
                told = _told(device, message.payload)
                if absence := self._absence(device):
                    log.warning("the offer waits until the device is back device=%s reason=%r", device, absence)
                return told
        raise errors.PeerError(
            f"device {device!r} of {self._deployment!r} was never there: it has left no birth; {self._known(device)}"
        )

    def _absence(self, device: str) -> str | None:
        """Why a device is away, and since which of its starts, as its retained status has it; None if it is not."""
        status = self._statuses.get(device)
        if status is None or status.state == "online":
            return None
        how = "it was ended" if status.reason == "closed" else "its connection was lost"
        if status.since_ms is None:
            return f"it is offline: {how}"
        began = datetime.datetime.fromtimestamp(status.since_ms / 1e3, datetime.timezone.utc)
        return f"it is offline: {how}, some time after its last start at {began:%Y-%m-%d %H:%M:%S} UTC"

    def _known(self, wanted: str) -> str:
        """Who has left one."""
        self._transport.subscribe(topics.every_device(self._deployment, topics.Kind.BIRTH))
        names = set()
        while (message := self._next()) is not None:
            found = topics.parse(message.topic)
            if found.kind is topics.Kind.BIRTH and message.payload:
                names.add(found.device)
        if not names:
            return "nor has any other device: check --deployment"
        shown = sorted(names)[:_MOST_NAMES]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        return f"there are {', '.join(shown)}{more}{text.meant(wanted, names)}"

    def push(
        self, device: Device, bundle: Package, cut: Cut, signer: Signer, *, url: str | None = None, wait_s: float
    ) -> Outcome:
        """Offers the bundle and serves the device until its state is final, or for `wait_s`."""
        offer = self._offer(device, bundle, cut, url)
        words = offer.text()
        signed = Signed(words, signer.sign(words))
        files = _files(bundle, offer)
        self._transport.subscribe(topics.topic(self._deployment, device.name, topics.Kind.TELEMETRY))
        self._sent_bytes = 0
        began_s = time.monotonic()
        last = self._serve(device.name, signed, files, began_s + wait_s)
        return Outcome(
            device.name,
            cut.id,
            last.state if last else None,
            last.reason if last else self._absence(device.name),
            time.monotonic() - began_s,
            self._sent_bytes,
        )

    def _offer(self, device: Device, bundle: Package, cut: Cut, url: str | None) -> Offer:
        now_ms, last = self._clock_ms(), device.serial
        if last > now_ms + _MOST_AHEAD_MS:
            raise errors.PeerError(
                f"device {device.name!r} says that its last model was offered in more than a year; check this "
                f"machine's clock, and empty the device's --models if the clock is right"
            )
        manifest = (bundle.path / reading.MANIFEST).read_bytes()
        return Offer(
            deployment=self._deployment,
            device=device.name,
            package=bundle.digest,
            name=bundle.manifest.name,
            cut=cut.id,
            manifest_sha256=updates.sha256(manifest),
            manifest_bytes=len(manifest),
            total_bytes=len(manifest) + sum(file.bytes for file in bundle.manifest.files.values()),
            # Later than any before, even if this machine's clock is behind another operator's.
            serial=max(now_ms, last + 1),
            url=url,
        )

    def _serve(self, device: str, signed: Signed, files: dict[str, Path], give_up_s: float) -> Report | None:
        """The device's last report on this offer."""
        control = topics.topic(self._deployment, device, topics.Kind.CONTROL)
        telemetry = topics.topic(self._deployment, device, topics.Kind.TELEMETRY)
        last: Report | None = None
        offered_at_s = float("-inf")
        while time.monotonic() < give_up_s:
            if time.monotonic() - offered_at_s >= _REPEAT_S:
                self._transport.publish(control, signed.as_json(), timeout_s=_REPEAT_S)
                offered_at_s = time.monotonic()
            message = self._next()
            report = _report(message, telemetry)
            if report is None or report.offer != signed.id:
                continue
            offered_at_s = time.monotonic()
            last = report
            self._on_report(report)
            if report.state.is_final:
                break
            if report.need is not None and report.need.sha256 in files:
                self._send(control, files[report.need.sha256], report.need, give_up_s)
        return last

    def _send(self, control: str, path: Path, need: Need, give_up_s: float) -> None:
        header_bytes = publish_packet_bytes(control, updates.PIECE_HEADER_BYTES, qos=1, expires=False) + 3
        room = min(_PIECE_BYTES, self._transport.max_packet_bytes - header_bytes)
        if room < 1:
            raise errors.BrokerError(f"the broker takes packets of {self._transport.max_packet_bytes} bytes, too few")
        with path.open("rb") as stream:
            stream.seek(need.start)
            for offset in range(need.start, need.stop, room):
                data = stream.read(min(room, need.stop - offset))
                if not data:
                    return  # the range is beyond the end of the file
                patience_s = max(0.0, give_up_s - time.monotonic())
                self._transport.publish(control, Piece(need.sha256, offset, data).encode(), timeout_s=patience_s)
                self._sent_bytes += len(data)

    def _next(self) -> Message | None:
        message = self._transport.receive(_LOOK_S)
        if message is not None:
            self._transport.acknowledge(message)
            self._note_status(message)
        return message

    def _note_status(self, message: Message) -> None:
        with contextlib.suppress(errors.FrameError):  # a damaged one says nothing
            topic = topics.parse(message.topic)
            if topic.kind is topics.Kind.STATUS:
                found, before = presence.parse(message.payload), self._statuses.get(topic.device)
                if before is None or not found.is_late(before):
                    self._statuses[topic.device] = found


def _files(bundle: Package, offer: Offer) -> dict[str, Path]:
    listed = {file.sha256: bundle.path / name for name, file in bundle.manifest.files.items()}
    return listed | {offer.manifest_sha256: bundle.path / reading.MANIFEST}


def _report(message: Message | None, telemetry: str) -> Report | None:
    """The report in a message; None for any other message, and for a damaged report, which the next one replaces."""
    if message is None or message.topic != telemetry:
        return None
    try:
        return updates.parse_report(message.payload)
    except errors.FrameError:
        return None


def _told(device: str, payload: bytes) -> Device:
    try:
        fields: Any = strict_json.parse(payload)
        cut, layer, update = fields["cut"], fields["layer"], fields.get("update")
        serial = update["serial"] if update is not None else None
        candidates = tuple((fields.get("adapts") or {}).get("candidates", ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise errors.FrameError(f"birth of device {device!r} cannot be read ({cause!r})") from cause
    if serial is None:
        raise errors.PeerError(f"device {device!r} takes no updates: start its edge with --models and --update-key")
    is_readable = (
        isinstance(cut, str) and isinstance(layer, str | None) and all(isinstance(each, str) for each in candidates)
    )
    if type(serial) is not int or serial < 0 or not is_readable:
        raise errors.FrameError(f"birth of device {device!r} cannot be read: cut {cut!r}, serial {serial!r}")
    return Device(device, cut, layer, serial, candidates)
