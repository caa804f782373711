"""What one candidate costs in one scenario: latency by part, sustainable rate, bytes, price, load, memory, energy.

Pure arithmetic; each figure carries its origin. Infinite means that a queue would grow for ever.
"""

import math

from tflsplit.planning import network, queueing
from tflsplit.planning.candidates import Candidate
from tflsplit.planning.scenario import SECONDS_A_DAY, Scenario, Workload
from tflsplit.timings import distribution
from tflsplit.timings.distribution import NOTHING, Distribution
from tflsplit.timings.profiles import Origin
from tflsplit.values.classes import dataclass

PARTS = ("fill", "preprocess", "reload", "head", "encode", "wire", "broker", "queue", "decode", "tail", "result")


@dataclass(frozen=True, slots=True, repr=False)
class Cost:
    """`stages_fps` is what each stage alone could do, in inputs a second of each device; the lowest is the sustainable
    rate. Latency is an input's, the wait for its frame to fill included.

    `energy_j` is what the edge uses for one frame and the idle time after it. Loads are shares of the time.
    """

    candidate: Candidate
    parts: dict[str, Distribution]
    latency: Distribution
    stages_fps: dict[str, float]
    bytes_per_frame: float
    bytes_per_day: float
    price_per_day: float | None
    edge_load: float
    cloud_load: float
    energy_j: float | None

    def __repr__(self) -> str:
        p50_ms = self.latency.p50_s * 1e3
        return f"<cost of {self.candidate.id}: p50 {p50_ms:.2f} ms, {self.bytes_per_frame:,.0f} bytes a frame>"

    @property
    def throughput_fps(self) -> float:
        return min(self.stages_fps.values())

    @property
    def bytes_per_input(self) -> float:
        return self.bytes_per_frame / self.candidate.batch

    @property
    def slowest_stage(self) -> str:
        return min(self.stages_fps, key=self.stages_fps.__getitem__)

    @property
    def origins(self) -> dict[str, Origin]:
        """Where each figure comes from, the parts' first."""
        return {name: part.origin for name, part in self.parts.items()} | {
            "latency": self.latency.origin,
            "payload": self.candidate.payload_origin,
            "edge_memory": self.candidate.edge_memory_origin,
            # Headers are counted, the topic's length and the result's are typical ones.
            "bytes": distribution.worst((self.candidate.payload_origin, Origin.ESTIMATED)),
        }


def of(candidate: Candidate, scenario: Scenario) -> Cost:
    work, batch = scenario.workload, candidate.batch
    frames_fps = None if work.rate_fps is None else work.rate_fps / batch
    reload = _reload(candidate, work.reload_every)
    edge = distribution.total((candidate.edge, reload)) if reload is not NOTHING else candidate.edge
    sending, hop = network.sending(scenario.link, candidate.frame_bytes), network.hop(scenario.link)
    warming_up = network.warming_up(scenario.link, candidate.frame_bytes, frames_fps) if frames_fps else NOTHING
    cloud = candidate.cloud
    parts = {
        "fill": _filling(batch, work.rate_fps),
        "preprocess": candidate.preprocess,
        "reload": reload,
        "head": candidate.head,
        "encode": candidate.encode,
        "wire": distribution.total((sending, warming_up)) if warming_up is not NOTHING else sending,
        "broker": hop,
        "decode": candidate.decode,
        "tail": candidate.tail,
        "result": hop,
    }
    service = distribution.total(part for name, part in parts.items() if name != "fill")
    parts["queue"] = _queue(edge, sending, cloud, frames_fps, work)
    stages_fps = {
        "edge": _per_second((edge.mean_s + candidate.besides_s) / batch),
        "link": _per_second(network.busy_s(scenario.link, candidate.frame_bytes) / batch),
        "cloud": _per_second(cloud.mean_s * work.devices / work.workers / batch),
        "window": _per_second(service.mean_s / work.window / batch),
    }
    rate_fps = scenario.counted_fps / batch
    bytes_per_frame = network.wire_bytes(candidate.frame_bytes) + batch * network.wire_bytes(network.RESULT_BYTES)
    bytes_per_day = bytes_per_frame * rate_fps * SECONDS_A_DAY
    return Cost(
        candidate=candidate,
        parts={name: parts[name] for name in PARTS},
        latency=distribution.total((parts["fill"], service, parts["queue"])),
        stages_fps=stages_fps,
        bytes_per_frame=bytes_per_frame,
        bytes_per_day=bytes_per_day,
        price_per_day=_price(bytes_per_day, cloud.mean_s * rate_fps, scenario),
        edge_load=queueing.load(rate_fps, edge) + rate_fps * candidate.besides_s,
        cloud_load=queueing.load(rate_fps * work.devices, cloud, work.workers),
        energy_j=_energy(edge, rate_fps, scenario),
    )


def _reload(candidate: Candidate, every: int | None) -> Distribution:
    """Loading the head again before one frame of `every`."""
    if every is None or not candidate.load_s or not candidate.cut.head.operators:
        return NOTHING
    return distribution.sometimes(candidate.load_s, 1 / every)


def _filling(batch: int, rate_fps: float | None) -> Distribution:
    """How long an input waits for the last one of its frame: each place in a frame is as frequent as another."""
    if batch == 1 or rate_fps is None:
        return NOTHING
    waits_s = [place / rate_fps for place in range(batch)]
    mean_s = math.fsum(waits_s) / batch
    variance_s2 = math.fsum((wait_s - mean_s) ** 2 for wait_s in waits_s) / batch
    median_s, late_s = distribution.percentile(waits_s, 0.50), distribution.percentile(waits_s, 0.95)
    return Distribution(median_s, late_s, mean_s, variance_s2, Origin.STATED)


def _queue(
    edge: Distribution, sending: Distribution, cloud: Distribution, frames_fps: float | None, work: Workload
) -> Distribution:
    """The wait before each of the three stages; none where no rate was asked for.

    Frames come to edge and link at the steady pace of one device, to a cloud of several devices at random.
    """
    if frames_fps is None:
        return NOTHING
    at_cloud = queueing.POISSON if work.devices > 1 else queueing.PACED
    return distribution.total(
        (
            queueing.wait(frames_fps, edge, arrivals=queueing.PACED),
            queueing.wait(frames_fps, sending, arrivals=queueing.PACED),
            queueing.wait(frames_fps * work.devices, cloud, arrivals=at_cloud, workers=work.workers),
        )
    )


def _per_second(seconds: float) -> float:
    return 1 / seconds if seconds > 0 else math.inf


def _price(bytes_per_day: float, cloud_share: float, scenario: Scenario) -> float | None:
    prices = scenario.prices
    if not prices.is_known:
        return None
    return bytes_per_day / 1e9 * (prices.per_gb or 0.0) + cloud_share * 24 * (prices.per_cloud_hour or 0.0)


def _energy(edge: Distribution, rate_fps: float, scenario: Scenario) -> float | None:
    power = scenario.power
    if power is None:
        return None
    rest_s = max(0.0, 1 / rate_fps - edge.mean_s)
    return power.active_w * edge.mean_s + power.idle_w * rest_s
