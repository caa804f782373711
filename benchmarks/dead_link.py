"""A link that dies without a word, and comes back: what a device has meanwhile, as real processes.

MobileNetV2, ten frames a second, 200 Mbit/s and 10 ms of round trip shaped by the kernel (root); edges that are 40
times slower than this machine, so that sending is better, and cloud and Mosquitto at the other end. Then every packet
is lost, both ways, for 60 s, and none after it. An edge for each way: `--delivery latest` and `all` with a spool, each
with `--adapt` alone and with `--hedge`.

- Bridged: the longest time between two answers that the device has, from the last one over the link.
- Back: from when the link is, to the capture of the first frame that goes out at another cut and is answered.
- Waiting: frames captured in the second before that frame or after it that take over 100 ms, a tick, longer than the
  slowest one answered here in the 10 s before the link was back.

With `chrt -f 1` before `python` these are not those of a machine that is busy with other work.
"""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
import models
from harness import Outcome, Samples, Table

from broker.links import namespace
from broker.local import server
from broker.messages.results import WHOLE
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import profiler
from tflsplit import errors
from tflsplit.api import planning
from tflsplit.cli.trials import replay_stage
from tflsplit.package.reading import Package
from tflsplit.timings.profiles import Side

BRIDGED_S, BACK_S = 1.0, 2.0
_RATE_BPS, _RTT_S, _SLOWER, _TICK_S = 200e6, 0.01, 40.0, 0.1
_DEAD_S, _CALM_S = 60.0, 12.0
_WAYS = {
    "latest": {"delivery": "latest"},
    "latest, hedged": {"delivery": "latest", "hedge": 1.5},
    "all, spool": {"delivery": "all", "spool": True},
    "all, spool, hedged": {"delivery": "all", "spool": True, "hedge": 1.5},
}


@dataclass(frozen=True, slots=True)
class Noted:
    """A frame's first answer; times by the monotonic clock."""

    captured_s: float
    arrived_s: float
    cut: str

    @property
    def is_here(self) -> bool:
        return self.cut == WHOLE


@dataclass(frozen=True, slots=True)
class Seen:
    """What one device had of one outage."""

    gap_s: float
    back_s: float
    waited: int
    frames: int
    slowest_s: float


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    try:
        namespace.check_possible()
    except errors.DeviceError as reason:
        raise harness.SkippedError(str(reason)) from reason
    opened = models.mobilenet(folder)
    plan = _planned(opened, folder)
    dead_s, times = (5.0, 1) if is_quick else (_DEAD_S, 5)
    outages, noted = _played(opened, plan, folder, dead_s, times)
    seen = {name: [_seen(answers, *outage) for outage in outages] for name, answers in noted.items()}
    return [*_outcomes(seen), _table(seen)]


def _planned(opened: Package, folder: Path) -> Path:
    edge, cloud = (
        profiler.profile(profiler.Task(opened, side, Cpu()), folder / f"dead.{side.value}")
        for side in (Side.EDGE, Side.CLOUD)
    )
    outcome = planning.plan(opened, edge=edge, cloud=cloud, bandwidth=_RATE_BPS, rtt=_RTT_S, input_codecs="int8")
    path = folder / "dead_link.json"
    planning.write_plan(outcome, path, force=True)
    return path


def _played(
    opened: Package, plan: Path, folder: Path, dead_s: float, times: int
) -> tuple[list[tuple[float, float]], dict[str, list[Noted]]]:
    """When the link died and was back, and what each way noted."""
    outages = []
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(namespace.shaped(rate_bps=_RATE_BPS, delay_s=_RTT_S / 2))
        serving = stack.enter_context(server.run(network.outside, port=0, allow_remote=True))
        at = replay_stage.at(serving.address)
        stack.enter_context(replay_stage.running("cloud", str(opened.path), *at))
        replay_stage.await_online(serving.address, "cloud")
        devices = {}
        for number, (name, given) in enumerate(_WAYS.items()):
            told = {"package": str(opened.path), "broker": f"mqtt://{serving.address}", "plan": str(plan)} | given
            told |= {"source": str(models.pictures(folder)), "slower": _SLOWER}
            told |= {"deployment": replay_stage.DEPLOYMENT, "device": f"dead-{number}"}
            if "spool" in told:
                told["spool"] = str(folder / f"dead_link.spool.{number}")
            program = str(Path(__file__).with_name("bridging.py"))
            command = network.inside(sys.executable, program, json.dumps(told))
            devices[name] = stack.enter_context(harness.process(command))
        for _ in range(times):
            time.sleep(_CALM_S)
            with network.outage():
                died_s = time.monotonic()
                time.sleep(dead_s)
            outages.append((died_s, time.monotonic()))
        time.sleep(_CALM_S)
        noted = {}
        for name, device in devices.items():
            said, _ = device.communicate("")
            told = json.loads(said)
            noted[name] = sorted((Noted(*each) for each in told["noted"]), key=lambda each: each.arrived_s)
            print(name, len(noted[name]), told["lost"] or "", flush=True)
    return outages, noted


def _seen(answers: Sequence[Noted], died_s: float, is_back_s: float) -> Seen:
    before = max(each.arrived_s for each in answers if each.arrived_s <= died_s)
    during = [each.arrived_s for each in answers if died_s < each.arrived_s <= is_back_s]
    moments = [before, *during, is_back_s]
    taken = sorted((each for each in answers if each.captured_s >= is_back_s), key=lambda each: each.captured_s)
    first = next((each for each in taken if not each.is_here), taken[-1])
    usual_s = max(
        (each.arrived_s - each.captured_s for each in answers if is_back_s - 10 <= each.captured_s < is_back_s),
        default=0.0,
    )
    around = [each for each in taken if abs(each.captured_s - first.captured_s) <= 1.0]
    late = [each for each in around if each.arrived_s - each.captured_s > usual_s + _TICK_S]
    return Seen(
        max(later - sooner for sooner, later in itertools.pairwise(moments)),
        first.captured_s - is_back_s,
        len(late),
        len(around),
        max(each.arrived_s - each.captured_s for each in around),
    )


def _outcomes(seen: dict[str, list[Seen]]) -> Iterator[Outcome]:
    for name, each in seen.items():
        gaps, backs = (Samples(name, "s", tuple(getattr(one, field) for one in each)) for field in ("gap_s", "back_s"))
        yield Outcome("dead link: longest time without an answer", gaps, harness.limit(BRIDGED_S, "s"), 1.0)
        yield Outcome("until the better cut is back", backs, harness.limit(BACK_S, "s"), 1.0)
        shares = Samples(name, "%", tuple(one.waited / one.frames for one in each))
        yield Outcome("frames that waited for it", shares, harness.limit(1.0, "%"), 0.0)


def _table(seen: dict[str, list[Seen]]) -> Table:
    rows = [
        (
            name,
            *(f"{max(getattr(one, field) for one in each):.2f}" for field in ("gap_s", "back_s", "slowest_s")),
            f"{sum(one.waited for one in each)} of {sum(one.frames for one in each)}",
        )
        for name, each in seen.items()
    ]
    columns = ("way", "longest gap, s", "cut back after, s", "slowest frame then, s", "frames that waited")
    return Table(f"The worst of {max(map(len, seen.values()))} outages", columns, tuple(rows))
