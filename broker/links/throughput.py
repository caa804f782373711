"""Measures a `tflsplit.timings.links.Link` through the broker that will carry the frames.

With an `Echo` beside the cloud, round trips are like those of a frame: to the cloud's machine, and back with an answer
as large as a result. Without one, only the way to the broker is measured, by its acknowledgements.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broker.links import echo
from broker.messages import probes, topics
from broker.mqtt.transport import MqttTransport
from broker.transport.protocol import Limits, Transport, publish_packet_bytes
from tflsplit import errors
from tflsplit.timings import fitting, sampling
from tflsplit.timings.links import Link, Point
from tflsplit.timings.profiles import FEWEST_RUNS, Origin, Timing
from tflsplit.values.classes import dataclass

SIZES = (100, 1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)

_PATIENCE_S = 30.0
_HELLO_S = 2.0
_MOST_RUNS = 60
_MOST_IN_FLIGHT = 16
_LOSS_MESSAGES = 200
# A pause as between two frames: broker and cloud sleep, and waking up takes them one or two tenths of a millisecond.
_REST_S = 0.005
_LOSS_SILENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """`size_s` is about how long each size may take, half of it for round trips; `precision` as in a profile.

    Sizes are measured in ascending order, up to the first whose single round trip would take longer.
    """

    deployment: str
    device: str
    sizes: tuple[int, ...] = SIZES
    size_s: float = 2.0
    precision: float = 0.02

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        topics.check_name("device", self.device)
        if not self.sizes or min(self.sizes) < probes.LEAST_BYTES:
            raise errors.SettingsError(f"probe sizes {self.sizes}: give some of at least {probes.LEAST_BYTES} bytes")
        if not self.size_s > 0:
            raise errors.SettingsError(f"{self.size_s} s for each size: give more than 0")


@dataclass(frozen=True, slots=True)
class Found:
    """`has_peer`: an echo answered, so the figures include the way to the cloud and back."""

    link: Link
    has_peer: bool


def probe(
    ours: Transport,
    other: Transport,
    settings: Settings,
    *,
    run: int,
    on_size: Callable[[int], None] = lambda size: None,
) -> Found:
    """Measures with `ours`; without a peer, `other`, a second connection of this machine, answers for measuring loss.
    `run` marks this probe's messages. BrokerError if nothing comes back."""
    prober = _Prober(ours, settings, run)
    has_peer = prober.is_answered()
    points: list[Point] = []
    for size in _fitting(settings, ours):
        if _expected_s(points, size) > settings.size_s:
            break
        points.append(prober.measure(size, by_answer=has_peer))
        on_size(size)
    with _standing_in(other, settings.deployment, is_needed=not has_peer):
        loss = prober.loss()
    if loss >= 1.0:
        raise errors.BrokerError(
            f"nobody answered on deployment {settings.deployment}: start `tflsplit probe --echo` beside the cloud "
            "(on a broker with access rules, with a cloud's credentials)"
        )
    bandwidth_bps, rtt_s = fitting.fit(points)
    limit_bytes = ours.max_packet_bytes
    way = "to the peer and back" if has_peer else "to the broker only, no peer answered (tflsplit probe --echo)"
    speaks = f"MQTT {ours.version}, " if isinstance(ours, MqttTransport) else ""
    link = Link(
        name=settings.deployment,
        origin=Origin.MEASURED,
        bandwidth_bps=bandwidth_bps,
        rtt_s=rtt_s,
        loss=loss,
        packet_limit_bytes=limit_bytes if limit_bytes < Limits().packet_bytes else None,
        points=tuple(points),
        source=f"tflsplit probe, {speaks}{way}; loss of {_LOSS_MESSAGES} messages at QoS 0",
    )
    return Found(link, has_peer)


class _Prober:
    """Sends probes and waits for answers. Late answers to earlier probes are recognised by their number and ignored."""

    def __init__(self, transport: Transport, settings: Settings, run: int) -> None:
        self._transport = transport
        self._settings = settings
        self._run = run
        self._numbers = itertools.count()
        # Random, so that nothing on the way can compress it.
        self._filling = random.Random(run).randbytes(max(settings.sizes))  # noqa: S311 - it guards nothing
        self._topic = topics.topic(settings.deployment, settings.device, topics.Kind.TELEMETRY)
        transport.subscribe(topics.topic(settings.deployment, settings.device, topics.Kind.CONTROL))

    def is_answered(self) -> bool:
        """Whether any peer answers."""
        return self._answered_in_time(self._ask(probes.LEAST_BYTES), _HELLO_S)

    def measure(self, size: int, *, by_answer: bool) -> Point:
        samples = self._round_trips(size, by_answer=by_answer)
        median_s = Timing(samples).p50_s
        count = int(max(3, min(_MOST_IN_FLIGHT, self._settings.size_s / 2 / median_s)))
        took_s = self._time(size, count, by_answer=by_answer)
        # The first message takes a whole round trip, the others only the time of their bytes.
        busy_s = max(took_s - median_s, took_s / count)
        return Point(size, Timing(samples), (count - 1) * size * 8 / busy_s)

    def loss(self) -> float:
        """The share of tiny messages at QoS 0, sent as fast as they go, that were not answered."""
        missing = {self._ask(probes.LEAST_BYTES, qos=0) for _ in range(_LOSS_MESSAGES)}
        while missing:
            number = self._next_answer(_LOSS_SILENCE_S)
            if number is None:
                break
            missing.discard(number)
        return len(missing) / _LOSS_MESSAGES

    def _round_trips(self, size: int, *, by_answer: bool) -> tuple[float, ...]:
        """Times round trips, after warming up, until the median is precise or time or count are used up."""
        warming: list[float] = []
        while len(warming) < FEWEST_RUNS and sum(warming) < self._settings.size_s / 4 and not sampling.is_warm(warming):
            warming.append(self._time(size, 1, by_answer=by_answer))
        samples: list[float] = []
        while len(samples) < FEWEST_RUNS or not self._is_enough(samples):
            time.sleep(_REST_S)
            samples.append(self._time(size, 1, by_answer=by_answer))
        return tuple(samples)

    def _is_enough(self, samples: list[float]) -> bool:
        is_spent = len(samples) >= _MOST_RUNS or sum(samples) >= self._settings.size_s / 2
        return is_spent or (len(samples) >= 20 and sampling.is_narrow(samples, self._settings.precision))

    def _time(self, size: int, count: int, *, by_answer: bool) -> float:
        """Seconds until `count` messages, sent at once, have all arrived."""
        began_s = time.perf_counter()
        missing = {self._ask(size) for _ in range(count)}
        if not by_answer:
            if not self._transport.flush(_PATIENCE_S):
                raise errors.BrokerError(f"{size} bytes were not acknowledged within {_PATIENCE_S:g} s")
            return time.perf_counter() - began_s
        while missing:
            number = self._next_answer(_PATIENCE_S)
            if number is None:
                raise errors.BrokerError(f"{size} bytes were not answered within {_PATIENCE_S:g} s; is the peer alive?")
            missing.discard(number)
        return time.perf_counter() - began_s

    def _ask(self, size: int, qos: int = 1) -> int:
        number = next(self._numbers)
        asked = probes.message(self._run, number, self._filling[: size - probes.LEAST_BYTES])
        self._transport.publish(self._topic, asked, qos=qos, timeout_s=_PATIENCE_S)
        return number

    def _answered_in_time(self, number: int, patience_s: float) -> bool:
        give_up_s = time.monotonic() + patience_s
        while (left_s := give_up_s - time.monotonic()) > 0:
            if self._next_answer(left_s) == number:
                return True
        return False

    def _next_answer(self, patience_s: float) -> int | None:
        """The number of the next answer to us; None if none comes for `patience_s`."""
        while (message := self._transport.receive(patience_s)) is not None:
            self._transport.acknowledge(message)
            number = probes.number_of(message.payload, self._run)
            if number is not None:
                return number
        return None


def _expected_s(points: list[Point], size: int) -> float:
    """How long a round trip of the next size would take, from the two before it."""
    if len(points) < 2:
        return 0.0
    near, far = points[-2:]
    grown_s = far.round_trip.p50_s - near.round_trip.p50_s
    share = (size - far.payload_bytes) / (far.payload_bytes - near.payload_bytes)
    return far.round_trip.p50_s + grown_s * share


def _fitting(settings: Settings, ours: Transport) -> Iterator[int]:
    """The sizes that the broker takes in one packet."""
    topic = topics.topic(settings.deployment, settings.device, topics.Kind.TELEMETRY)
    for size in sorted(settings.sizes):
        if publish_packet_bytes(topic, size, qos=1, expires=False) <= ours.max_packet_bytes:
            yield size


@contextmanager
def _standing_in(other: Transport, deployment: str, *, is_needed: bool) -> Iterator[None]:
    """Lets our own second connection answer, if there is no peer."""
    if not is_needed:
        yield
        return
    peer = echo.Echo(other, deployment)
    peer.listen()
    thread = threading.Thread(target=peer.run, name="probe-echo")
    thread.start()
    try:
        yield
    finally:
        peer.stop()
        thread.join()
