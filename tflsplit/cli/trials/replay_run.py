"""Expected against observed: cuts run over a link that is shaped to stated numbers, and what the planner says of them.

What the planner is given is measured on the same machine and over the same shaped link.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import pixel_costs, profiler
from tflsplit import errors
from tflsplit.cli.trials import replay_stage
from tflsplit.cli.trials.replay_stage import Shaping
from tflsplit.coding import input_codec
from tflsplit.package.reading import Package
from tflsplit.planning import candidates, cost, decision
from tflsplit.planning.candidates import InputForms, Picture
from tflsplit.planning.planfile import Plan
from tflsplit.planning.scenario import Scenario, Workload
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin, Profile, Side

STORED_ONLY = InputForms(raw=False, int8=True, jpeg=False)
# A candidate's id where the input travels as pixels: `input:raw`, `input:jpeg:75`.
_INPUT = "input:"
# One frame at a time, so that latencies are those of a frame and not of a queue.
_WORKLOAD = Workload(window=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One way of running the model, by its candidate's id; in seconds."""

    id: str
    layer: str | None
    payload_bytes: int
    predicted_p50_s: float
    predicted_p95_s: float
    measured_p50_s: float
    measured_p95_s: float
    frames: int

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured; positive where it was too slow."""
        return self.predicted_p50_s / self.measured_p50_s - 1

    def as_json(self) -> dict[str, object]:
        return {
            "cut": self.id,
            "layer": self.layer,
            "payload_bytes": self.payload_bytes,
            "predicted_ms": {"p50": self.predicted_p50_s * 1e3, "p95": self.predicted_p95_s * 1e3},
            "measured_ms": {"p50": self.measured_p50_s * 1e3, "p95": self.measured_p95_s * 1e3},
            "error": self.error,
            "frames": self.frames,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """`pick` is what the planner takes of those tried, `stated` the link asked for, `link` what was measured of it.

    `lost_packets` are those that the link lost in all, the probe's among them.
    """

    stated: Link
    link: Link
    rows: tuple[Row, ...]
    pick: Row
    lost_packets: int = 0

    @property
    def best(self) -> Row:
        return min(self.rows, key=lambda row: row.measured_p50_s)

    @property
    def regret(self) -> float:
        """How much slower the pick was than the best cut that was tried, as a share."""
        return self.pick.measured_p50_s / self.best.measured_p50_s - 1

    def as_json(self) -> dict[str, object]:
        return {
            "link": {
                "stated": {
                    "bandwidth_bps": self.stated.bandwidth_bps,
                    "rtt_s": self.stated.rtt_s,
                    "loss": self.stated.loss,
                },
                "measured": {
                    "bandwidth_bps": self.link.bandwidth_bps,
                    "rtt_s": self.link.rtt_s,
                    "lost_packets": self.lost_packets,
                },
            },
            "pick": self.pick.id,
            "best": self.best.id,
            "regret": self.regret,
            "cuts": [row.as_json() for row in self.rows],
        }


def predict(
    package: Package, edge: Profile, cloud: Profile, link: Link, forms: InputForms = STORED_ONLY
) -> dict[str, cost.Cost]:
    """What the planner's cost function says of every way of running the model, one frame at a time."""
    scenario = Scenario(link, _WORKLOAD)
    found = candidates.gather(package.cuts, edge, cloud, forms)
    return {candidate.id: cost.of(candidate, scenario) for candidate in found if not candidate.missing}


def forms_of(package: Package, source: Path, qualities: Sequence[int]) -> InputForms:
    """Raw and JPEG beside int8, as large as the source's pictures are; int8 alone where it has none."""
    pixels = pixel_costs.open_pixels(str(source), package)
    if pixels is None:
        return STORED_ONLY
    sizes = tuple(
        Picture(quality, pixel_costs.mean_bytes(package, pixels, quality), Origin.MEASURED) for quality in qualities
    )
    return InputForms(jpeg=bool(sizes), pictures=sizes)


def replay(
    package: Package,
    profiles: tuple[Profile, Profile],
    stated: Link,
    names: Sequence[str],
    folder: Path,
    *,
    source: Path | None = None,
    frames: int = 30,
    shaping: Shaping = Shaping.RELAY,
    on_step: Callable[[str], None] = lambda said: None,
) -> Report:
    """Run over the shaped link what `names` say (see `chosen`).

    `profiles` are the edge's and the cloud's; files made here go to `folder`.
    """
    source = source or random_source(package, folder)
    forms = forms_of(package, source, _qualities(names))
    with replay_stage.stage(package, stated, source, shaping) as running:
        on_step("probe the shaped link")
        link = running.probe()
        predicted = predict(package, *profiles, link, forms)
        rows = {}
        for name in chosen(package, names, predicted):
            on_step(f"run {name}")
            rows[name] = row(predicted[name], running.run(predicted[name].candidate, frames), frames)
        lost = running.lost_packets
    return Report(stated, link, tuple(rows.values()), rows[pick([predicted[name] for name in rows])], lost)


def profile_of(package: Package, side: Side, folder: Path) -> Profile:
    """Made now, of this machine."""
    return profiler.profile(profiler.Task(package, side, Cpu()), folder / f"{side.value}.partial")


def pick(costs: Sequence[cost.Cost]) -> str:
    """The id of the one that the planner takes for least latency."""
    return decision.rank(costs, decision.Goal())[0].candidate.id


def names_of(wanted: str | None, given: Plan | None) -> tuple[str, ...]:
    """What `chosen` takes, out of names with commas, or else of a plan."""
    if wanted is not None:
        return tuple(name.strip() for name in wanted.split(","))
    if given is None:
        return ("useful",)
    is_stored = given.input_codec in (None, "int8")
    return (given.cut if is_stored else f"{given.cut}:{given.input_codec}",)


def chosen(package: Package, names: Sequence[str], predicted: Mapping[str, cost.Cost]) -> list[str]:
    """The ids of the candidates that `names` say: all, useful (and unsplit), ids, layers.

    SettingsError for a way of sending the input that cannot be run.
    """
    if names == ("all",):
        return list(predicted)
    if names == ("useful",):
        found = ((name, one.candidate) for name, one in predicted.items())
        return [name for name, one in found if one.cut.is_useful or not one.is_split]
    for name in names:
        if name.startswith(_INPUT) and name not in predicted:
            raise errors.SettingsError(f"{name}: the package takes no pictures, or the source holds none")
    return [name if name in predicted else package.cut(name).id for name in names]


def _qualities(names: Sequence[str]) -> tuple[int, ...]:
    """Of the JPEGs asked for by name, else 75."""
    codecs = [input_codec.parse(name.removeprefix(_INPUT)) for name in names if name.startswith(_INPUT)]
    return tuple(codec.quality for codec in codecs if codec.quality is not None) or (75,)


def row(predicted: cost.Cost, summary: Mapping[str, Mapping[str, float]], frames: int) -> Row:
    described, measured = predicted.candidate, summary["latency_ms"]
    return Row(
        id=described.id,
        layer=described.cut.layer,
        payload_bytes=round(described.payload_bytes),
        predicted_p50_s=predicted.latency.p50_s,
        predicted_p95_s=predicted.latency.p95_s,
        measured_p50_s=measured["p50"] / 1e3,
        measured_p95_s=measured["p95"] / 1e3,
        frames=frames,
    )


def random_source(package: Package, folder: Path) -> Path:
    """A file of random inputs in `folder`, for want of real ones."""
    columns = profiler.random_columns(package)
    path = folder / ("inputs.npy" if len(columns) == 1 else "inputs.npz")
    if len(columns) == 1:
        np.save(path, columns[0])
    else:
        np.savez(path, *columns)  # `frames` takes them in this order
    return path
