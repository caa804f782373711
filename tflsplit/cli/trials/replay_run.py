"""The replay: measures cuts over a link shaped to stated numbers, and compares them with the planner's predictions.

What the planner is given is measured on the same machine and over the same shaped link.
"""

from collections.abc import Callable, Mapping, Sequence
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
from tflsplit.values.classes import dataclass

STORED_ONLY = InputForms(raw=False, int8=True, jpeg=False)
# A candidate's id where the input travels as pixels: `input:raw`, `input:jpeg:75`.
_INPUT = "input:"
_SETS = ("all", "useful")
# One frame at a time, so that latencies are those of a frame and not of a queue.
_WORKLOAD = Workload(window=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate that was run, with predicted and measured latency in seconds."""

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
        """The error of the prediction as a share of the measured latency; positive if the run was faster."""
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
    """`pick` is the planner's choice among the rows. `stated` is the link that was asked for, `link` what was measured
    of it. `lost_packets` counts all that the link lost, those of the probe too.
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
        """How much slower the pick was than the fastest row, as a share."""
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
    """The planner's cost of every candidate, for one frame at a time."""
    scenario = Scenario(link, _WORKLOAD)
    found = candidates.gather(package.cuts, edge, cloud, forms)
    return {candidate.id: cost.of(candidate, scenario) for candidate in found if not candidate.missing}


def forms_of(package: Package, source: Path, qualities: Sequence[int]) -> InputForms:
    """The codings of the input to try: int8, and if the source has pictures also raw and JPEG, with their sizes."""
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
    """Runs the candidates in `names` (see `chosen`) over the shaped link.

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
    """The profile of one side, measured on this machine now."""
    return profiler.profile(profiler.Task(package, side, Cpu()), folder / f"{side.value}.partial")


def pick(costs: Sequence[cost.Cost]) -> str:
    """The id of the candidate that the planner picks for the lowest latency."""
    return decision.rank(costs, decision.Goal())[0].candidate.id


def names_of(wanted: str | None, given: Plan | None) -> tuple[str, ...]:
    """The names for `chosen`: those in `wanted`, with commas between them, else that of a plan."""
    if wanted is not None:
        return tuple(name.strip() for name in wanted.split(","))
    if given is None:
        return ("useful",)
    is_stored = given.input_codec in (None, "int8")
    return (given.cut if is_stored else f"{given.cut}:{given.input_codec}",)


def check(package: Package, names: Sequence[str], stated: Link, shaping: Shaping) -> None:
    """SettingsError or DeviceError for what `replay` would refuse after minutes of measuring."""
    for name in names:
        if name.startswith(_INPUT):
            input_codec.parse(name.removeprefix(_INPUT))
            try:
                input_codec.picture_input(package.manifest)
            except errors.DataError as cause:
                raise errors.SettingsError(f"{name}: the package takes no pictures") from cause
        elif name not in _SETS:
            package.cut(name)
    replay_stage.check(stated, shaping)


def chosen(package: Package, names: Sequence[str], predicted: Mapping[str, cost.Cost]) -> list[str]:
    """The ids of candidates for `names`: all, useful (with input and output), ids, or layers.

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
    """The JPEG qualities in the names, else 75."""
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
    """Writes random inputs to a file in `folder`."""
    columns = profiler.random_columns(package)
    path = folder / ("inputs.npy" if len(columns) == 1 else "inputs.npz")
    if len(columns) == 1:
        np.save(path, columns[0])
    else:
        np.savez(path, *columns)  # `frames` takes them in this order
    return path
