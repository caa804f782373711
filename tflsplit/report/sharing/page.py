"""A model shared over machines as one HTML page: who computes what, what is moved, a frame's time line, and memory."""

from collections.abc import Sequence

from tflsplit import text
from tflsplit.package.reading import Package
from tflsplit.placement import distribution
from tflsplit.placement.cost import Costs
from tflsplit.placement.distribution import Distribution
from tflsplit.placement.machines import Machine
from tflsplit.report import document
from tflsplit.report.sharing import charts

_EXACT = "Bytes, multiply-accumulates and memory are counted and exact; times follow from the stated speeds and links."


def render(found: Distribution, package: Package) -> str:
    """The page's text. DeviceError where matplotlib is not installed."""
    graph = package.graph
    described = {
        "network": f"{len(found.schedule.steps)} stages over {len(found.cluster.machines)} machines",
        "frame": f"A frame takes {found.costs.latency_s * 1e3:.2f} ms over {len(found.used)} machines",
        "links": f"{found.costs.bytes_exchanged:,} bytes are exchanged for a frame",
        "memory": f"At most {max(found.costs.memory_bytes):,} bytes on one machine",
        "schemes": f"This placement, {found.costs.latency_s * 1e3:.2f} ms, beside {len(found.schemes)} simple schemes",
    }
    sections = [
        _answer(found, package),
        document.figure(
            "Who computes what", charts.network(found, graph), charts.NETWORK_CAPTION, describes=described["network"]
        ),
        document.figure(
            "A frame over the machines", charts.frame(found), charts.TIMELINE_CAPTION, describes=described["frame"]
        ),
        document.figure("Bytes on each link", charts.links(found), charts.LINKS_CAPTION, describes=described["links"]),
        _pairs(found),
        document.figure("Memory", charts.memory(found), charts.MEMORY_CAPTION, describes=described["memory"]),
        "<h2>The machines</h2>" + _machines(found),
        document.figure(
            "Beside simple schemes", charts.schemes(found), charts.SCHEMES_CAPTION, describes=described["schemes"]
        ),
        _schemes(found),
        "<h2>Every stage</h2>" + _stages(found, package),
    ]
    return document.render(f"{package.manifest.name} on {len(found.cluster.machines)} machines", sections)


def _answer(found: Distribution, package: Package) -> str:
    medium, costs = found.cluster.medium, found.costs
    how = "one medium for all" if medium.is_shared else "a link for each"
    conditions = (
        f"Package {package.digest[:16]}. {medium.bandwidth_bps / 1e6:g} Mbit/s, {how}; objective: "
        f"{found.objective.value}. {_EXACT}"
    )
    answer = f"{found.reason}: {costs.latency_s * 1e3:.2f} ms, {costs.bytes_exchanged:,} bytes exchanged."
    remarks = []
    if len(found.used) > 1:
        remarks.append(
            f"Computed more than once: {text.percent(found.halo_overhead)}; without that {found.unfused_bytes:,} bytes "
            "would be exchanged."
        )
    if found.unshared:
        kinds = ", ".join(sorted(set(found.unshared)))
        remarks.append(f"On one machine, as nobody knows how to share them: {kinds}.")
    told = document.paragraph(conditions) + document.paragraph(answer, is_answer=True)
    return told + document.listed(remarks) if remarks else told


def _pairs(found: Distribution) -> str:
    """Who sends how much to whom."""
    names = [machine.name for machine in found.cluster.machines]
    moved = [[0] * len(names) for _ in names]
    for move in found.schedule.moves:
        moved[move.source][move.target] += move.bytes
    rows = [
        ("", (name, *(f"{each:,}" if each else "" for each in row), f"{sum(row):,}"))
        for name, row in zip(names, moved, strict=True)
    ]
    columns = (("bytes from, to", False), *((name, True) for name in names), ("all", True))
    return document.table(columns, rows)


def _machines(found: Distribution) -> str:
    costs, total = found.costs, sum(found.costs.macs) or 1
    rows = [
        (
            "" if each in found.used else "infeasible",
            (
                machine.name,
                _speed(machine),
                f"{costs.macs[each] / 1e6:,.1f}",
                text.percent(costs.macs[each] / total),
                f"{costs.parameter_bytes[each] / 1e6:,.2f}",
                f"{costs.memory_bytes[each] / 1e6:,.2f}",
                sum(len(step.run_by(each)) for step in found.schedule.steps),
            ),
        )
        for each, machine in enumerate(found.cluster.machines)
    ]
    numbers = ("speed GMAC/s", "MMAC", "share", "weights MB", "memory MB", "pieces")
    return document.table((("machine", False), *((title, True) for title in numbers)), rows)


def _speed(machine: Machine) -> str:
    return f"{machine.macs_per_s / 1e9:.3g}{' measured' if machine.operator_s else ''}"


def _schemes(found: Distribution) -> str:
    def row(name: str, costs: Costs) -> Sequence[object]:
        fits = distribution.fits(costs, found.cluster)
        return (
            name.replace("_", " ") + ("" if fits else ", too large"),
            f"{costs.latency_s * 1e3:,.2f}",
            f"{1 / costs.busy_s:,.2f}" if costs.busy_s else "",
            f"{costs.bytes_exchanged / 1e6:,.3f}",
            f"{max(costs.memory_bytes) / 1e6:,.2f}",
        )

    rows = [("choice", row("this placement", found.costs))]
    rows += [
        ("" if distribution.fits(costs, found.cluster) else "infeasible", row(name, costs))
        for name, costs in found.schemes.items()
    ]
    numbers = ("ms", "frames/s", "MB sent", "largest memory MB")
    return document.table((("scheme", False), *((title, True) for title in numbers)), rows)


def _stages(found: Distribution, package: Package) -> str:
    graph, names = package.graph, [machine.name for machine in found.cluster.machines]
    rows = []
    for number, step in enumerate(found.schedule.steps):
        kinds = [operator.name for operator in graph.operators[step.stage.start : step.stage.stop]]
        taking = [name for name, made in zip(names, step.stage.makes, strict=True) if made]
        rows.append(
            (
                "",
                (
                    number,
                    ", ".join(dict.fromkeys(kinds)),
                    charts.manner(step, graph),
                    ", ".join(taking),
                    f"{sum(move.bytes for move in (*step.moves, *step.sums)):,}",
                    f"{sum(piece.macs for each in range(len(names)) for piece in step.run_by(each)) / 1e6:,.1f}",
                ),
            )
        )
    columns = (("stage", True), ("operators", False), ("shared by", False), ("machines", False))
    return document.table((*columns, ("bytes before", True), ("MMAC", True)), rows)
