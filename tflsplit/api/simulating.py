"""A moving cut judged over a trace, in model time."""

from collections.abc import Iterable

from tflsplit import arguments, errors, quantities
from tflsplit.api import files, packages, planning
from tflsplit.arguments import PathLike
from tflsplit.coding import precisions
from tflsplit.coding.precisions import Precision
from tflsplit.package.reading import Package
from tflsplit.planning import candidates, constraints, exactness
from tflsplit.switching import choices, comparison, traces
from tflsplit.switching import hedge as switching_hedge
from tflsplit.switching.choices import Choice
from tflsplit.switching.comparison import Comparison
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal, Wish
from tflsplit.switching.policy import Probing
from tflsplit.switching.simulation import Setting, World
from tflsplit.switching.traces import Trace
from tflsplit.timings.profiles import Profile, Side


def simulate(
    pkg: PathLike | Package,
    *,
    edge: PathLike | Profile,
    cloud: PathLike | Profile,
    trace: PathLike | Trace,
    slow_edge: float = 1.0,
    fps: float = 10.0,
    rtt: str | float = 0.04,
    duration: str | float | None = None,
    objective: str = "mean",
    hedge: float | None = switching_hedge.DEFAULT,
    probes: bool = True,
    input_codecs: str | Iterable[str] = "raw,int8,jpeg:75",
    lossy: str | float | None = None,
    policies: str | Iterable[str] | None = None,
) -> Comparison:
    """What policies that move the cut, and cuts that stay, would have made of a link that was as `trace` says.

    `edge` and `cloud` are profiles or their files, `trace` a CSV or a file of mahimahi's. The device takes `slow_edge`
    times what was profiled; `rtt` (s) holds where the trace says nothing of it. `hedge` is after how many
    times a frame's expected way the device computes it too, None for never. With `lossy` ("99%", "20dB", or "")
    features may travel in fewer bits, as in `plan`. `policies` names some; all without.
    """
    wanted = _policies(policies)
    opened = packages.open(pkg)
    prepared = prepare(
        opened,
        edge=edge,
        cloud=cloud,
        trace=trace,
        setting=setting(slow_edge, fps, rtt, duration),
        objective=objective,
        tuning=Tuning(hedge=hedge, probing=Probing() if probes else None),
        input_codecs=input_codecs,
        lossy=lossy,
    )
    return comparison.compare(*prepared, wanted)


def prepare(
    opened: Package,
    *,
    edge: PathLike | Profile,
    cloud: PathLike | Profile,
    trace: PathLike | Trace,
    setting: Setting,
    objective: str,
    tuning: Tuning,
    input_codecs: str | Iterable[str],
    lossy: str | float | None = None,
) -> tuple[World, list[Choice], Goal, Tuning]:
    """What is compared: the arguments of `comparison.compare`."""
    if opened.manifest.is_stateful:
        raise errors.SettingsError(
            f"{opened.path}: it is stateful, and what head and tail keep belongs to a cut, so its cut stays: compare "
            "cuts with `tflsplit plan`, or with `tflsplit replay` without --trace"
        )
    wish = Wish(arguments.one_of(objective, [Wish.MEAN.value, Wish.P95.value], "objective"))
    at_edge = planning.profile_of(edge, opened, Side.EDGE)
    in_cloud = planning.profile_of(cloud, opened, Side.CLOUD)
    forms = planning.forms(opened, at_edge, input_codecs, None, None)
    judged = exactness.of_cuts(opened, at_edge, in_cloud)
    fewer = () if lossy is None else _fewer_bits(opened, lossy)
    gathered = candidates.gather(opened.cuts, at_edge, in_cloud, forms, judged, lossy=fewer)
    costed = choices.of_candidates(gathered, at_edge.accelerator)
    return World(read_trace(trace), setting), choices.worth_having(costed, setting.slow_edge), Goal(wish), tuning


def _fewer_bits(package: Package, lossy: str | float) -> list[Precision]:
    """Those that keep as much as is asked; DataError for a package without, SettingsError for other words."""
    found = precisions.of_package(package)
    least = planning.least(package, found, lossy)
    return [each for each in found if not any(constraints.too_lossy(each.fidelity, least))]


def read_trace(given: PathLike | Trace) -> Trace:
    return given if isinstance(given, Trace) else traces.read(arguments.path(given, "trace"))


def write_report(found: Comparison, out: PathLike, *, force: bool = False) -> None:
    """A page with charts, in one HTML file; one that is there already is replaced with `force` only."""
    from tflsplit.report.switching import page

    files.write_whole(files.free(out, force), page.render(found))


def setting(slow_edge: float, fps: float, rtt: str | float, duration: str | float | None) -> Setting:
    """SettingsError for what cannot be."""
    for name, value in (("slow_edge", slow_edge), ("fps", fps)):
        if not 0 < value <= 1e6:
            raise errors.SettingsError(f"{name} of {value}: give more than 0, and at most 1,000,000")
    return Setting(
        fps=float(fps),
        slow_edge=float(slow_edge),
        rtt_s=quantities.parse_duration(rtt, "rtt"),
        duration_s=None if duration is None else quantities.parse_duration(duration, "duration"),
    )


def _policies(given: str | Iterable[str] | None) -> set[str] | None:
    if given is None:
        return None
    listed = given.split(",") if isinstance(given, str) else arguments.texts(given, "policies")
    known = [*comparison.LIMITS, *comparison.makers(Goal(), Tuning())]
    return {arguments.one_of(name.strip(), known, "policy") for name in listed}
