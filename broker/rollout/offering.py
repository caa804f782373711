"""One offer to one device: says it until the device reports, and sends the pieces that the device asks for.

The operator keeps no record of what a device has, and sends every range that is asked for. So a device that was away
continues where it was, and so does a rollout that is started again.
"""

from pathlib import Path
from typing import Protocol

from broker.messages import topics, updates
from broker.messages.topics import Kind
from broker.messages.updates import Need, Offer, Piece, Report, Signed
from broker.rollout.devices import Device
from broker.transport.protocol import Transport, publish_packet_bytes
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, field

# Small enough for a piece every 9 s on a link of 30 kbit/s, large enough that headers do not matter.
_PIECE_BYTES = 32 << 10
# A device that is silent for so long gets the offer again: it may have been away before.
_REPEAT_S = 5.0
# While a model is tried nothing is to be reported: an offer is no news then, and there may be thousands.
_REPEAT_TRYING_S = 20.0
# How long a piece may wait for room: a broker that is away for longer has lost what waits behind it.
_PATIENCE_S = 30.0
# How far a device's serial, which is a time, may be ahead of this machine's clock.
_MOST_AHEAD_MS = 366 * 86_400_000


class Signer(Protocol):
    """Signs with the key that devices trust."""

    def sign(self, text: bytes) -> bytes: ...


def next_serial(device: Device, now_ms: int) -> int:
    """Later than any before, even if this machine's clock is behind another operator's."""
    if device.serial > now_ms + _MOST_AHEAD_MS:
        raise errors.PeerError(
            f"device {device.name!r} says that its last model was offered in more than a year; check this "
            f"machine's clock, and empty the device's --models if the clock is right"
        )
    return max(now_ms, device.serial + 1)


def offer(deployment: str, device: Device, bundle: Package, cut: Cut, *, serial: int, url: str | None) -> Offer:
    manifest = (bundle.path / reading.MANIFEST).read_bytes()
    return Offer(
        deployment=deployment,
        device=device.name,
        package=bundle.digest,
        name=bundle.manifest.name,
        cut=cut.id,
        manifest_sha256=updates.sha256(manifest),
        manifest_bytes=len(manifest),
        total_bytes=len(manifest) + sum(file.bytes for file in bundle.manifest.files.values()),
        serial=serial,
        url=url,
    )


@dataclass(slots=True)
class Push:
    """`last` is the device's last report on this offer."""

    deployment: str
    device: str
    signed: Signed
    files: dict[str, Path]
    last: Report | None = None
    sent_bytes: int = 0
    _said_at_s: float = field(default=float("-inf"))

    @property
    def is_travelling(self) -> bool:
        """Whether pieces of the model may still be asked for."""
        return self.last is None or self.last.state is updates.State.RECEIVING

    def take(self, report: Report, now_s: float) -> bool:
        """Whether the report is about this offer."""
        if report.offer != self.signed.id:
            return False
        self.last, self._said_at_s = report, now_s
        return True

    def say(self, transport: Transport, now_s: float) -> None:
        """Publishes the offer if it is time; where the transport has no room, the next call does."""
        pause_s = _REPEAT_S if self.is_travelling else _REPEAT_TRYING_S
        if now_s - self._said_at_s >= pause_s and transport.try_publish(self._control, self.signed.as_json(), qos=1):
            self._said_at_s = now_s

    def room(self, transport: Transport) -> int:
        """Bytes of a piece. BrokerError where the broker takes too few."""
        header_bytes = publish_packet_bytes(self._control, updates.PIECE_HEADER_BYTES, qos=1, expires=False) + 3
        room = min(_PIECE_BYTES, transport.max_packet_bytes - header_bytes)
        if room < 1:
            raise errors.BrokerError(f"the broker takes packets of {transport.max_packet_bytes} bytes, too few")
        return room

    def send(self, transport: Transport, need: Need) -> None:
        """What is asked for, if it is of the bundle. BrokerError where the broker takes nothing for `_PATIENCE_S`: the
        device asks again."""
        path, room = self.files.get(need.sha256), self.room(transport)
        if path is None:
            return
        with path.open("rb") as stream:
            stream.seek(need.start)
            for offset in range(need.start, need.stop, room):
                data = stream.read(min(room, need.stop - offset))
                if not data:
                    return  # the range is beyond the end of the file
                transport.publish(self._control, Piece(need.sha256, offset, data).encode(), timeout_s=_PATIENCE_S)
                self.sent_bytes += len(data)

    @property
    def _control(self) -> str:
        return topics.topic(self.deployment, self.device, Kind.CONTROL)


def push(made: Offer, bundle: Package, signer: Signer) -> Push:
    words = made.text()
    files = {file.sha256: bundle.path / name for name, file in bundle.manifest.files.items()}
    files[made.manifest_sha256] = bundle.path / reading.MANIFEST
    return Push(made.deployment, made.device, Signed(words, signer.sign(words)), files)
