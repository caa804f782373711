"""Whether the planner is right: every cut's predicted latency, and its pick, against what real processes do.

Three models over six links from 0.5 to 1,000 Mbit/s and 1 to 100 ms, each imitated by `broker.links.relay` between a
real edge and a real Mosquitto with a real cloud behind it. The planner gets profiles of this machine and what `tflsplit
probe` measured of the shaped link. Tried are the cuts it thinks best, the input as int8, raw and JPEG, the output, and
others spread over the model, as far as a frame takes under `_MOST_S`: on slow links the slowest are left out. The pick
and the fastest cuts are run again, in turn, so that the best of many noisy figures is not taken for the best cut.
"""

import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import harness
import models
import numpy as np
from harness import Outcome, Samples, Table

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import profiler
from tflsplit.cli.trials import replay_run, replay_stage
from tflsplit.package import reading
from tflsplit.planning.cost import Cost
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin, Profile, Side

LINKS = tuple(
    Link(f"{mbit:g} Mbit/s, {rtt_ms:g} ms", Origin.STATED, mbit * 1e6, rtt_ms / 1e3)
    for mbit, rtt_ms in ((0.5, 100), (2, 60), (5, 40), (20, 20), (100, 5), (1000, 1))
)
REGRET_LIMIT, MEDIAN_LIMIT, P95_LIMIT = 0.03, 0.10, 0.20
_MOST_S = 1.0
_BEST, _OTHERS = 3, 4
_FINALISTS = 3
# Medians of 40 frames differ by several per cent from one run to the next where a frame takes some milliseconds.
_FURTHER_RUNS, _FURTHER_FAST_RUNS, _FAST_S = 2, 8, 0.03

_MOBILENET = """
import sys, keras
keras.utils.set_random_seed(1)
keras.applications.MobileNet(input_shape=(128, 128, 3), alpha=0.25, weights=None).save(sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """One model over one link. `measured_s` are medians by cut, one for each time that it was run."""

    model: str
    link: Link
    rows: tuple[replay_run.Row, ...]
    measured_s: dict[str, tuple[float, ...]]
    pick: str

    @property
    def best(self) -> str:
        """Of those that were run again; no other was as fast."""
        again = {cut: runs for cut, runs in self.measured_s.items() if len(runs) > 1}
        return min(again, key=lambda cut: statistics.median(again[cut]))

    @property
    def regret(self) -> float:
        return statistics.median(self.measured_s[self.pick]) / statistics.median(self.measured_s[self.best]) - 1

    @property
    def errors(self) -> list[float]:
        return [row.predicted_p50_s / statistics.median(self.measured_s[row.id]) - 1 for row in self.rows]


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    tried: list[Tried] = []
    measured: dict[str, Link] = {}  # each link is probed once: for the other models it is the same
    for name, opened in _models(folder, is_quick=is_quick):
        profiles = (_profile(opened, Side.EDGE, folder), _profile(opened, Side.CLOUD, folder))
        for link in LINKS[1::3] if is_quick else LINKS:
            source = replay_run.random_source(opened, folder)
            forms = replay_run.forms_of(opened, source, (75,))
            with replay_stage.stage(opened, link, source) as stage:
                seen = measured.get(link.name) or measured.setdefault(link.name, stage.probe())
                tried.append(_try(name, link, replay_run.predict(opened, *profiles, seen, forms), stage))
            print(_line(tried[-1]), flush=True)
    return [*_outcomes(tried), _table(tried), _rows(tried)]


def _models(folder: Path, *, is_quick: bool) -> list[tuple[str, reading.Package]]:
    digits = folder / "digits.h5"
    shipped = resources.files("tflsplit") / "demo"
    digits.write_bytes((shipped / "digits.h5").read_bytes())
    with (shipped / "digits.npz").open("rb") as stream, np.load(stream) as arrays:
        np.save(folder / "digits.npy", arrays["calibration"])
    found = [("digits", _converted(digits, folder / "digits.npy", "unit"))]
    if is_quick:
        return found
    keras_file, pixels = folder / "mobilenet.keras", folder / "mobilenet.npy"
    subprocess.run([sys.executable, "-c", _MOBILENET, str(keras_file)], check=True, stderr=subprocess.DEVNULL)
    np.save(pixels, np.random.default_rng(1).integers(0, 256, (16, 128, 128, 3), dtype=np.uint8))
    found.append(("MobileNet 0.25, 128", _converted(keras_file, pixels, "symmetric")))
    return [*found, ("MobileNetV2, 224", models.converted(folder)[0])]


def _converted(model: Path, calibration: Path, preprocess: str) -> reading.Package:
    target = model.with_suffix(".tflsplit")
    command = [harness.TFLSPLIT, "convert", str(model), "-o", str(target), "--calibration", str(calibration)]
    command += ["--preprocess", preprocess]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return reading.open_package(target)


def _profile(opened: reading.Package, side: Side, folder: Path) -> Profile:
    journal = folder / f"{opened.path.name}.{side.value}"
    return profiler.profile(profiler.Task(opened, side, Cpu()), journal)


def _try(name: str, stated: Link, predicted: dict[str, Cost], stage: replay_stage.Stage) -> Tried:
    expected_s = {cut: cost.latency.p50_s for cut, cost in predicted.items()}

    def once(cut_id: str) -> replay_run.Row:
        candidate, frames = predicted[cut_id].candidate, max(8, min(40, round(1.0 / expected_s[cut_id])))
        return replay_run.row(predicted[cut_id], stage.run(candidate, frames), frames)

    rows = tuple(once(cut) for cut in _chosen(expected_s))
    runs = {row.id: (row.measured_p50_s,) for row in rows}
    pick = replay_run.pick(list(predicted.values()))
    finalists = {pick, *sorted(runs, key=runs.__getitem__)[:_FINALISTS]}
    for _ in range(_FURTHER_FAST_RUNS if min(expected_s.values()) < _FAST_S else _FURTHER_RUNS):
        for cut in sorted(finalists):
            runs[cut] += (once(cut).measured_p50_s,)
    return Tried(name, stated, rows, runs, pick)


def _chosen(expected_s: dict[str, float]) -> list[str]:
    """The best, every way of not splitting, and some others spread over the model, in the model's order."""
    possible = [cut for cut, seconds in expected_s.items() if seconds < _MOST_S]
    wanted = set(sorted(possible, key=expected_s.__getitem__)[:_BEST])
    wanted |= {cut for cut in possible if cut == "output" or cut.split(":")[0] == "input"}
    others = [cut for cut in possible if cut not in wanted]
    wanted |= set(others[:: max(1, len(others) // _OTHERS)][:_OTHERS])
    return [cut for cut in possible if cut in wanted]


def _line(tried: Tried) -> str:
    worst = max(tried.errors, key=abs)
    return (
        f"{tried.model} over {tried.link.name}: {len(tried.rows)} cuts, pick {tried.pick}, best {tried.best}, "
        f"regret {tried.regret:.1%}, median error {statistics.median(map(abs, tried.errors)):.1%}, worst {worst:+.1%}"
    )


def _outcomes(tried: list[Tried]) -> list[Outcome]:
    absolute = sorted(abs(error) for one in tried for error in one.errors)
    regrets = tuple(one.regret for one in tried)
    p95 = float(np.percentile(absolute, 95))
    over = f"{len(absolute)} cuts over {len(LINKS)} links and {len({one.model for one in tried})} models"
    return [
        Outcome(
            "largest regret of the planner's pick",
            Samples("pick over best, less 1", "%", (max(regrets),)),
            harness.limit(REGRET_LIMIT, "%"),
            1.0,
            note=f"median {statistics.median(regrets):.2%}; {sum(regret > REGRET_LIMIT for regret in regrets)} above",
        ),
        Outcome(
            f"error of predicted latency, median of {over}",
            Samples("|predicted / measured - 1|", "%", (statistics.median(absolute),)),
            harness.limit(MEDIAN_LIMIT, "%"),
            1.0,
        ),
        Outcome(
            f"error of predicted latency, 95th percentile of {over}",
            Samples("|predicted / measured - 1|", "%", (p95,)),
            harness.limit(P95_LIMIT, "%"),
            1.0,
        ),
    ]


def _table(tried: list[Tried]) -> Table:
    rows = tuple(
        (
            one.model,
            one.link.name,
            str(len(one.rows)),
            one.pick,
            one.best,
            f"{one.regret:.1%}",
            f"{statistics.median(map(abs, one.errors)):.1%}",
            f"{max(one.errors, key=abs):+.1%}",
        )
        for one in tried
    )
    columns = ("model", "link", "cuts tried", "pick", "best tried", "regret", "median error", "worst error")
    return Table("The planner's pick against the best cut found by trying them", columns, rows)


def _rows(tried: list[Tried]) -> Table:
    rows = tuple(
        (
            one.model,
            one.link.name,
            row.id,
            f"{row.payload_bytes:,}",
            f"{row.predicted_p50_s * 1e3:.2f}",
            " ".join(f"{seconds * 1e3:.2f}" for seconds in one.measured_s[row.id]),
            f"{error:+.1%}",
        )
        for one in tried
        for row, error in zip(one.rows, one.errors, strict=True)
    )
    columns = ("model", "link", "cut", "payload B", "predicted p50 ms", "measured p50 ms", "error")
    return Table("Predicted and measured latency of each cut that was tried", columns, rows)
