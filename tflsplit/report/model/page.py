"""A package as one HTML page, which needs no plan: the network, what travels at each cut, which operators an
accelerator can run, and, with profiles, where the time goes.
"""

from collections.abc import Sequence

from tflsplit import text
from tflsplit.graph import cuts
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.planning import report_text
from tflsplit.report import document
from tflsplit.report.model import charts, stretches
from tflsplit.report.model.mapping import Mapping
from tflsplit.report.model.stretches import Upto
from tflsplit.report.plan import page
from tflsplit.timings.profiles import Origin, Profile, Side

_MOST_STRETCHES = 10
_NOISE = (
    "Operators between two timed cuts, as the difference of what was measured at both, with its standard error. Those "
    "that do not stand out of it are left out."
)
_NONE = "No stretch of operators stands out of the standard error of what was measured at its two cuts."


def render(package: Package, mapping: Mapping, profiles: Sequence[Profile] = ()) -> str:
    """The page's text. DeviceError where matplotlib is not installed."""
    shown = package.select("listed")
    network = charts.network(package.graph, shown, mapping)
    named = dict(zip(_names(profiles), profiles, strict=True))
    found = {name: stretches.upto(profile, package.cuts) for name, profile in named.items()}
    timed = {name: points for name, points in found.items() if len(points) > 1}
    sections = [
        _summary(package, shown, mapping),
        document.figure("The network", network, charts.NETWORK_CAPTION, describes=mapping.in_words),
        document.figure(
            "What travels, cut by cut",
            charts.payloads(shown),
            charts.PAYLOAD_CAPTION,
            describes=_smallest(shown) + " " + charts.PAYLOAD_CAPTION,
        ),
        *_times(package, timed),
        "<h2>Cuts</h2>" + _cuts(package, shown, named),
        "<h2>Operators</h2>" + _operators(package, mapping),
        "<h2>Where the figures come from</h2>"
        + page.sources([row for each in profiles for row in page.profile_rows(each.side.value, each)]),
    ]
    return document.render(f"{package.manifest.name}: cuts and operators", sections)


def _summary(package: Package, shown: Sequence[Cut], mapping: Mapping) -> str:
    described, whole = package.manifest, package.cuts[-1].head
    inputs = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in described.inputs)
    said = (
        f"Package {package.digest[:16]}, target {described.target}, calibration: {described.calibration.kind}. "
        f"Input: {inputs}. {text.counted(len(package.graph.operators), 'operator')}, {whole.macs / 1e6:,.1f} million "
        f"multiply-accumulates, {whole.parameter_bytes:,} bytes of weights."
    )
    hidden = len(package.cuts) - len(shown)
    lines = [mapping.in_words] + ([f"{text.counted(hidden, 'cut')} between time steps are left out."] if hidden else [])
    return document.paragraph(said) + document.paragraph(_smallest(shown), is_answer=True) + document.listed(lines)


def _smallest(shown: Sequence[Cut]) -> str:
    useful = [cut for cut in shown if cut.is_useful and cut.boundary]
    sent = [cut for cut in shown if cut.boundary]
    least = min(sent, key=lambda cut: cut.payload_bytes)
    share = sent[0].payload_bytes / least.payload_bytes if least.payload_bytes else 1.0
    return (
        f"{len(useful)} of {len(shown)} cuts are useful: {', '.join(cut.id for cut in useful)}. The least is sent at "
        f"{least.id}: {least.payload_bytes:,} bytes, 1/{share:,.3g} of what {sent[0].id} sends."
    )


def _times(package: Package, timed: dict[str, list[Upto]]) -> list[str]:
    if not timed:
        return []
    rows = []
    for name, points in timed.items():
        standing = [each for each in stretches.between(points) if each.stands_out]
        for each in sorted(standing, key=lambda one: -one.seconds)[:_MOST_STRETCHES]:
            kinds = [package.graph.operators[index].name for index in range(each.start, each.stop)]
            where = str(each.start) if len(kinds) == 1 else f"{each.start} to {each.stop - 1}"
            what = text.shortened(", ".join(dict.fromkeys(kinds)), 60)
            rows.append(
                ("", (name, where, what, *(document.number(seconds * 1e3) for seconds in (each.seconds, each.error_s))))
            )
    columns = (("profile", False), ("operators", False), ("kinds", False), ("ms", True), ("±", True))
    longest = "<h2>What takes longest</h2>"
    longest += document.table(columns, rows) + document.paragraph(_NOISE) if rows else document.paragraph(_NONE)
    return [document.figure("Where the time goes", charts.times(timed), charts.TIME_CAPTION), longest]


def _cuts(package: Package, shown: Sequence[Cut], named: dict[str, Profile]) -> str:
    rows = []
    for cut in shown:
        cells = (
            cut.id,
            document.number(cut.payload_bytes),
            "yes" if cut.is_useful else "",
            len(cut.boundary),
            *(_timed(profile, cut) for profile in named.values()),
            *(f"{side.macs / 1e6:,.2f}" for side in (cut.head, cut.tail)),
            *(document.number(side.parameter_bytes) for side in (cut.head, cut.tail)),
            report_text.short_layer(cut.layer),
        )
        rows.append(("choice" if cut.is_useful else "", cells))
    columns = (
        *(("cut", False), ("payload, B", True), ("useful", False), ("tensors", True)),
        *((f"{'head' if each.side is Side.EDGE else 'tail'} ms, {name}", True) for name, each in named.items()),
        *((title, True) for title in ("head MMAC", "tail MMAC", "head B", "tail B")),
        ("after layer", False),
    )
    return document.table(columns, rows)


def _timed(profile: Profile, cut: Cut) -> str:
    """Where the profile estimated it from other cuts' times, with a mark."""
    timing = profile.timing(cut.id)
    if timing is None:
        return ""
    return f"{'' if timing.run.origin is Origin.MEASURED else '≈ '}{document.number(timing.run.p50_s * 1e3)}"


def _operators(package: Package, mapping: Mapping) -> str:
    graph, rows = package.graph, []
    for operator, judged in zip(graph.operators, mapping.operators, strict=True):
        shape = next((graph.tensors[index].shape for index in operator.outputs if index >= 0), ())
        made = "x".join(map(str, shape))
        layer, work = report_text.short_layer(judged.layer), cuts.macs(graph, operator) / 1e6
        cells = (operator.index, operator.name, f"{work:,.2f}", made, layer, judged.in_words)
        rows.append(("" if judged.maps else "infeasible", cells))
    columns = (
        *(("index", True), ("operator", False), ("MMAC", True), ("output", False), ("layer", False)),
        ("Edge TPU", False),
    )
    return document.table(columns, rows)


def _names(profiles: Sequence[Profile]) -> list[str]:
    """Side, machine and accelerator; with a number where two are called alike."""
    names: list[str] = []
    for profile in profiles:
        name = f"{profile.side.value} {page.machine(profile)}"
        count = sum(each.split(" #")[0] == name for each in names)
        names.append(f"{name} #{count + 1}" if count else name)
    return names
