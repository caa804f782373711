"""Plans and profiles with figures that nobody measured."""

from tflsplit.planning import pipeline, planfile
from tflsplit.timings import presets
from tflsplit.timings.profiles import CutTiming, Profile, Side, Timing


def profile(package, side, seconds_per_operator) -> Profile:
    timings = []
    for cut in package.cuts:
        operators = (cut.head if side is Side.EDGE else cut.tail).operators
        timings.append(
            CutTiming(
                cut=cut.id,
                run=Timing((operators * seconds_per_operator,) * 5),
                coding=Timing((1e-5,) * 5),
                coded_bytes=float(cut.payload_bytes) if side is Side.EDGE else None,
                load_s=0.01,
                memory_bytes=1000,
            )
        )
    preprocess = Timing((1e-4,) * 5) if side is Side.EDGE else None
    return Profile(package.digest, side.value, side, "cpu", {"cpu": "<invented & fast>"}, tuple(timings), preprocess)


def costing(cut, wire_bytes, edge_s=0.001, cloud_s=0.001, **more):
    """One candidate of a plan."""
    figures = {"edge_s": edge_s, "head_s": edge_s, "cloud_s": cloud_s, "wire_bytes": wire_bytes}
    return {"cut": cut, **figures, "load_s": 0.0, "exact": True, **more}


# The plan's cut is the worst by far, op001 is the best in any weather, and this device would take an hour.
FIGURES = (costing("op000", 900_000), costing("op001", 300), costing("input", 90_000), costing("output", 0, 3600.0))


def write_plan(folder, package, figures=FIGURES, cut="op000"):
    link = presets.named("wifi")
    plan = planfile.Plan(
        **planfile.naming(package, folder),
        cut=cut,
        layer=None,
        input_codec=None,
        rate_fps=None,
        window=8,
        reason="for a test",
        link=pipeline.describe_link(link),
        candidates=figures,
    )
    (folder / "plan.json").write_text(planfile.render(plan))
    return folder / "plan.json"
