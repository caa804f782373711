"""A fleet in model time: no process, no socket, the costs that a real run measured, and as many devices as one likes.

The broker is one thread and the cloud one process, so each is a queue that serves in order. A frame is served by the
broker, by the cloud, and by the broker again; every so many seconds the broker saves what it holds and serves nobody
meanwhile; devices send each period from a moment of their own, and tell telemetry. After a kill all come back at once.
Each device, broker and cloud has a processor of its own here, which is not so where one machine plays them all.
"""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.deploy import mosquitto
from broker.transport.backoff import Backoff

_TELEMETRY_S = 10.0
# Packets that a broker reads or writes for a frame: five publications (the frame comes, leaves for the cloud, its
# result comes, leaves for the device and for a reader), each with its acknowledgement. And for telemetry that nobody
# reads.
FRAME_PACKETS, _TELEMETRY_PACKETS = 10, 1
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds: of the broker for a packet, for a device's connection and to save a byte; of the cloud for a
    frame. `state_bytes` are what the broker keeps of a device."""

    packet_s: float
    connection_s: float
    byte_s: float
    frame_s: float
    state_bytes: float

    @classmethod
    def of(cls, found: dict, largest: dict) -> "Costs":
        """As one real run had them; that of a save is from the largest, for a small one is mostly opening a file."""
        devices, per_s = found["devices"], found["answered_per_s"]
        packets_per_s = per_s * FRAME_PACKETS + devices / _TELEMETRY_S * _TELEMETRY_PACKETS
        saving = found["save_s"] / mosquitto.save_interval_s(devices)
        return cls(
            packet_s=(found["costs"]["broker"]["cpu"] - saving) / packets_per_s,
            connection_s=found["connecting_s"]["broker"] / devices,
            byte_s=largest["save_s"] / largest["stored_bytes"],
            frame_s=found["costs"]["cloud"]["cpu"] / per_s,
            state_bytes=found["stored_bytes"] / devices,
        )


@dataclass(frozen=True, slots=True)
class Load:
    """How busy broker and cloud are, as shares of a core; what the broker keeps, and how long a save takes."""

    broker: float
    cloud: float
    stored_bytes: float
    save_s: float


def load(costs: Costs, devices: int, rate_per_s: float) -> Load:
    stored_bytes = devices * costs.state_bytes
    save_s = stored_bytes * costs.byte_s
    packets_per_s = devices * (rate_per_s * FRAME_PACKETS + _TELEMETRY_PACKETS / _TELEMETRY_S)
    saving = save_s / mosquitto.save_interval_s(devices)
    return Load(packets_per_s * costs.packet_s + saving, devices * rate_per_s * costs.frame_s, stored_bytes, save_s)


def latencies(costs: Costs, devices: int, rate_per_s: float, for_s: float, seed: int = 1) -> list[float]:
    """Of all frames, in order of their sending; they grow without end where broker or cloud is overloaded."""
    save_s = load(costs, devices, rate_per_s).save_s
    broker, cloud = _Server(save_s, mosquitto.save_interval_s(devices)), _Server()
    waiting: list[tuple[float, int, int, float]] = []  # when, which stage, a number to settle ties, when it was sent
    found = []
    arrivals = _arrivals(devices, rate_per_s, for_s, random.Random(seed))
    following, number = next(arrivals, None), 0
    while following is not None or waiting:
        if following is not None and (not waiting or following[0] <= waiting[0][0]):
            at_s, is_frame = following
            following, number = next(arrivals, None), number + 1
            done_s = broker.serve(at_s, costs.packet_s * (FRAME_PACKETS * 0.4 if is_frame else _TELEMETRY_PACKETS))
            if is_frame:
                heapq.heappush(waiting, (done_s, 1, number, at_s))
            continue
        at_s, stage, this, sent_s = heapq.heappop(waiting)
        if stage == 1:
            heapq.heappush(waiting, (cloud.serve(at_s, costs.frame_s), 2, this, sent_s))
        else:
            found.append(broker.serve(at_s, costs.packet_s * FRAME_PACKETS * 0.6) - sent_s)
    return found


def storm(costs: Costs, devices: int, started_s: float = 0.0, seed: int = 1) -> list[float]:
    """After how many seconds each device is online again, whose broker was killed and is back after `started_s`; who
    waits longer than its time-out tries again. At most an hour is looked at."""
    drawn, backoff, broker = random.Random(seed), Backoff(), _Server()
    attempts = [(backoff.wait_s(0, drawn), number, 0) for number in range(devices)]
    heapq.heapify(attempts)
    online = []
    while attempts and attempts[0][0] < 3600.0:
        at_s, number, tries = heapq.heappop(attempts)
        if at_s < started_s:  # refused at once
            wait_s = backoff.wait_s(0, drawn) + backoff.wait_s(tries, drawn, most_s=backoff.most_silent_s)
        elif broker.free_s(at_s) + costs.connection_s - at_s <= CONNECT_TIMEOUT_S:
            online.append(broker.serve(at_s, costs.connection_s))
            continue
        else:
            wait_s = CONNECT_TIMEOUT_S + backoff.wait_s(0, drawn)
            wait_s += backoff.wait_s(tries, drawn, most_s=backoff.most_silent_s)
        heapq.heappush(attempts, (at_s + wait_s, number, tries + 1))
    return sorted(online)


class _Server:
    """Serves in order; every `interval_s` it does nothing else for `save_s`."""

    def __init__(self, save_s: float = 0.0, interval_s: float = 1.0) -> None:
        self._free_s = 0.0
        self._save_s, self._interval_s, self._next_save_s = save_s, interval_s, interval_s

    def free_s(self, at_s: float) -> float:
        return max(at_s, self._free_s)

    def serve(self, at_s: float, cost_s: float) -> float:
        """When it is done with what came at `at_s`."""
        begin_s = self.free_s(at_s)
        while self._save_s and begin_s >= self._next_save_s:
            begin_s = max(begin_s, self._next_save_s + self._save_s)
            self._next_save_s += self._interval_s
        self._free_s = begin_s + cost_s
        return self._free_s


def _arrivals(devices: int, rate_per_s: float, for_s: float, drawn: random.Random) -> Iterator[tuple[float, bool]]:
    """When something comes, in order, and whether it is a frame."""
    coming: list[tuple[float, float, bool]] = []
    for period_s, is_frame in ((1.0 / rate_per_s, True), (_TELEMETRY_S, False)):
        coming += [(drawn.uniform(0.0, period_s), period_s, is_frame) for _ in range(devices)]
    heapq.heapify(coming)
    while coming:
        at_s, period_s, is_frame = coming[0]
        if at_s >= for_s:
            heapq.heappop(coming)
            continue
        heapq.heapreplace(coming, (at_s + period_s, period_s, is_frame))
        yield at_s, is_frame


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
