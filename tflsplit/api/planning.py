"""Where to cut, from timings of both machines and the link between them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tflsplit import arguments, errors, quantities
from tflsplit.api import files, packages, wording
from tflsplit.api.seeing import gates
from tflsplit.arguments import PathLike
from tflsplit.coding import input_codec, jpeg, precisions
from tflsplit.coding.precisions import Precision
from tflsplit.graph.cuts import Cut
from tflsplit.kernels.heads import Exact
from tflsplit.package.reading import Package
from tflsplit.planning import candidates, pipeline, planfile
from tflsplit.planning.candidates import InputForms, Picture
from tflsplit.planning.constraints import Constraints
from tflsplit.planning.decision import Goal, Objective, Weights
from tflsplit.planning.pipeline import Outcome
from tflsplit.planning.scenario import Power, Prices, Scenario, Workload
from tflsplit.timings import links, presets, profiles
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin, Profile, Side
from tflsplit.values.classes import replace

# What is asked of fewer bits where nothing is said.
_LEAST_AGREEMENT, _LEAST_SQNR = "99%", "20dB"


def plan(
    pkg: PathLike | Package,
    *,
    edge: PathLike | Profile,
    cloud: PathLike | Profile,
    batch: int = 1,
    link: PathLike | Link | None = None,
    bandwidth: str | float | None = None,
    rtt: str | float | None = None,
    loss: str | float | None = None,
    objective: str = "latency",
    weights: str | Iterable[float] | None = None,
    max_latency: str | float | None = None,
    fps: float | None = None,
    max_bytes_per_day: float | None = None,
    max_edge_memory: int | None = None,
    min_depth: str | Cut | None = None,
    max_price_per_day: float | None = None,
    max_energy: float | None = None,
    exact: str = "prefer",
    price_per_gb: float | None = None,
    price_per_cloud_hour: float | None = None,
    idle_watts: float | None = None,
    active_watts: float | None = None,
    devices: int = 1,
    workers: int = 1,
    window: int = 8,
    reload_every: int | None = None,
    input_codecs: str | Iterable[str] = "raw,int8,jpeg:75",
    pictures: PathLike | None = None,
    jpeg_bytes: float | None = None,
    lossy: str | float | None = None,
    gate_samples: PathLike | None = None,
) -> Outcome:
    """Compare every cut, sending the input and computing everything locally, and pick one: `outcome.cut`, or None.

    `edge` and `cloud` are profiles or their files; `link` is a file of `tflsplit probe` or a preset ("4g"), or else
    `bandwidth` ("5Mbit") and `rtt` ("40ms") state one. With `lossy` ("99%", "20dB", or "") features may travel in fewer
    bits. With a `batch` frames hold so many of the inputs that come `fps` times a second. `gate_samples` fill
    `outcome.gate`. All else is as in `tflsplit plan --help`, in s, B and bit/s.
    """
    opened = _checked(packages.open(pkg), batch, fps, gate_samples)
    measured = profile_of(edge, opened, Side.EDGE, batch)
    allowed = precisions.of_package(opened) if lossy is not None else ()
    constraints = replace(
        Constraints() if lossy is None else least(opened, allowed, lossy),
        max_latency_s=None if max_latency is None else quantities.parse_duration(max_latency, "max_latency"),
        fps=fps,
        max_bytes_per_day=max_bytes_per_day,
        max_edge_memory_bytes=max_edge_memory,
        max_price_per_day=max_price_per_day,
        max_energy_j=max_energy,
        min_position=None if min_depth is None else opened.cut(min_depth).position,
    )
    work, prices = Workload(fps, devices, workers, window, reload_every), Prices(price_per_gb, price_per_cloud_hour)
    scenario = Scenario(link_of(link, bandwidth, rtt, loss), work, prices, _power(idle_watts, active_watts))
    served, goal = profile_of(cloud, opened, Side.CLOUD, batch), _goal(objective, constraints, weights, exact)
    inputs = forms(opened, measured, input_codecs, pictures, jpeg_bytes)
    made = pipeline.make(opened, measured, served, scenario, goal, forms=inputs, lossy=allowed)
    return made if gate_samples is None else replace(made, gate=gates.of_plan(made, gate_samples))


def _checked(package: Package, batch: int, fps: float | None, gate_samples: PathLike | None) -> Package:
    gates.check_samples(package, gate_samples)
    if gate_samples is not None and arguments.instance(batch, int, "batch") > 1:
        raise errors.SettingsError(f"gate samples with batches of {batch}: a gate judges each answer alone")
    if arguments.instance(batch, int, "batch") > 1 and fps is None:
        raise errors.SettingsError(f"a batch of {batch} without fps: how long a frame takes to fill depends on it")
    return package


@wording.in_python
def write_plan(outcome: Outcome, out: PathLike, *, force: bool = False) -> None:
    """The file that `tflsplit edge --plan` and `cloud --plan` run. SettingsError where nothing was picked, or if the
    file is there already, unless `force` allows to replace it."""
    path = files.free(out, force)
    files.write_whole(path, planfile.render(pipeline.plan_of(outcome, path.parent)))


@wording.in_python
def write_report(outcome: Outcome, out: PathLike, *, force: bool = False) -> None:
    """A page with charts, in one HTML file; one that is there already is replaced with `force` only."""
    from tflsplit.report.plan import page

    files.write_whole(files.free(out, force), page.render(outcome))


def link_of(
    name: PathLike | Link | None, bandwidth: str | float | None, rtt: str | float | None, loss: str | float | None
) -> Link:
    """A file of `tflsplit probe` or a preset by its name; without, the link that the other three state."""
    if name is not None:
        if any(each is not None for each in (bandwidth, rtt, loss)):
            raise errors.SettingsError("link and bandwidth, rtt or loss both describe the link; give one")
        if isinstance(name, Link):
            return name
        path = arguments.path(name, "link")
        return links.read(path) if path.is_file() else presets.named(str(path))
    if bandwidth is None or rtt is None:
        raise errors.SettingsError("no link: give link FILE or NAME, or bandwidth and rtt")
    return Link(
        name="stated",
        origin=Origin.STATED,
        bandwidth_bps=quantities.parse_bandwidth(bandwidth),
        rtt_s=quantities.parse_duration(rtt, "rtt"),
        loss=0.0 if loss is None else quantities.parse_share(loss, "loss"),
        source="stated by the user",
    )


def profile_of(given: PathLike | Profile, package: Package, side: Side, batch: int = 1) -> Profile:
    if not isinstance(given, Profile):
        return pipeline.read_profile(arguments.path(given, side.value), package, side, batch)
    ids = [cut.id for cut in package.cuts]
    profiles.check_fits(given, package.digest, side, ids, path=Path(f"{side.value} profile"), batch=batch)
    return given


def forms(package: Package, edge: Profile, codecs: Any, pictures: Any, jpeg_bytes: Any) -> InputForms:
    """The forms of the input that compete; JPEG sizes are measured on pictures, stated, or the edge's profile's."""
    listed = codecs.split(",") if isinstance(codecs, str) else arguments.texts(codecs, "input_codecs")
    parsed = [input_codec.parse(codec.strip()) for codec in listed]
    qualities = [codec.quality for codec in parsed if codec.quality is not None]
    folder = None if pictures is None else arguments.path(pictures, "pictures")
    shape = package.manifest.inputs[0].shape
    sizes: list[Picture] = []
    for quality in qualities:
        if folder is not None:
            sizes.append(Picture(quality, jpeg.mean_bytes(folder, shape, quality), Origin.MEASURED))
        elif jpeg_bytes is not None:
            stated_bytes = arguments.instance(jpeg_bytes, float, "jpeg_bytes")
            sizes.append(Picture(quality, stated_bytes, Origin.STATED))
        else:
            sizes.append(candidates.picture_of(package.cuts[0], quality, edge))
    named = {str(codec) for codec in parsed}
    if edge.batch > 1:  # pixels travel one input a frame
        return InputForms(raw=False, int8="int8" in named, jpeg=False)
    return InputForms(raw="raw" in named, int8="int8" in named, jpeg=bool(qualities), pictures=tuple(sizes))


def least(package: Package, found: Sequence[Precision], wanted: str | float) -> Constraints:
    """What fewer bits have to keep, as a share of equal answers or as decibels: for an empty text what was measured."""
    if not found:
        raise errors.DataError(
            f"{package.path}: what features in fewer bits lose was not measured; convert it again, a .tflite that is "
            "int8 already with --calibration"
        )
    has_agreement = found[0].fidelity.top1_agreement is not None
    text = (_LEAST_AGREEMENT if has_agreement else _LEAST_SQNR) if wanted == "" else wanted
    if isinstance(text, str) and text.strip().lower().endswith("db"):
        try:
            return Constraints(min_sqnr_db=float(text.strip()[:-2]))
        except ValueError:
            raise errors.SettingsError(f"lossy {wanted!r}: write a share or decibels, as 99% or 20dB") from None
    try:
        share = quantities.parse_share(text, "lossy")
    except errors.SettingsError:
        raise errors.SettingsError(f"lossy {wanted!r}: write a share or decibels, as 99% or 20dB") from None
    if share > 1:
        raise errors.SettingsError(f"lossy {wanted!r}: nothing agrees in more than 100%; write as 99%, 0.99 or 20dB")
    if not has_agreement:
        raise errors.SettingsError(
            f"lossy {wanted}: agreement was not measured ({found[0].fidelity.closeness_to('frames without loss')}); "
            "bound the error, as 20dB"
        )
    return Constraints(min_agreement=share)


def _power(idle_w: float | None, active_w: float | None) -> Power | None:
    if (idle_w is None) != (active_w is None):
        raise errors.SettingsError("idle_watts and active_watts belong together; give both")
    return None if idle_w is None or active_w is None else Power(idle_w, active_w)


def _goal(objective: str, constraints: Constraints, weights: Any, exact: str) -> Goal:
    kind = arguments.one_of(objective, [each.value for each in Objective], "objective")
    wish = Exact(arguments.one_of(exact, [each.value for each in Exact], "exact"))
    is_lossy = constraints.min_agreement is not None or constraints.min_sqnr_db is not None
    if wish is Exact.REQUIRE and is_lossy:
        raise errors.SettingsError("exact require and lossy: features in fewer bits are not exact; leave one out")
    if wish is Exact.REQUIRE:
        constraints = replace(constraints, exact=True)
    return Goal(Objective(kind), constraints, _weights(weights), prefers_exact=wish is Exact.PREFER)


def _weights(given: Any) -> Weights:
    """Of rate, network and overhead: three numbers, or a text of them with commas."""
    if given is None:
        return Weights()
    try:
        rate, network, overhead = (float(entry) for entry in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError):
        raise errors.SettingsError(f"weights {given!r}: write three numbers with commas, as 1,2,1") from None
    return Weights(rate, network, overhead)
