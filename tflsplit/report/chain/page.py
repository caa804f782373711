"""A chain's plan as one HTML page: who runs what, where the time goes, why it helps, what Coral's tools would do."""

from collections.abc import Sequence

from tflsplit.chains import comparison
from tflsplit.chains.chain import Partition
from tflsplit.chains.pipeline import Planned
from tflsplit.planning import report_text
from tflsplit.report import document
from tflsplit.report.chain import charts
from tflsplit.report.plan import page


def render(planned: Planned) -> str:
    """The page's text. DeviceError where matplotlib is not installed."""
    outcome = planned.outcome
    sections = [
        _answer(planned),
        document.figure("Where a frame's time goes", charts.latency(outcome), charts.LATENCY_CAPTION),
        document.figure("How busy each machine and link is", charts.busy(outcome), charts.BUSY_CAPTION),
        "<h2>Why it helps, or not</h2>" + _gains(planned),
        "<h2>Who runs what</h2>" + _pieces(planned),
        "<h2>Other partitions</h2>" + _others(planned),
        "<h2>Where the figures come from</h2>" + _sources(planned),
    ]
    return document.render(f"Plan for {planned.package.manifest.name} on {len(planned.machines)} machines", sections)


def _answer(planned: Planned) -> str:
    machines = ", ".join(f"{name} on {page.machine(profile)}" for name, profile in planned.machines.items())
    links = ", ".join(map(page.link, planned.links))
    conditions = f"Package {planned.package.digest[:16]}. Stages: {machines}. Links: {links}. {planned.outcome.aim}."
    return document.paragraph(conditions) + document.paragraph(comparison.reason(planned.outcome), is_answer=True)


def _gains(planned: Planned) -> str:
    rows = []
    for name, gain in planned.outcome.gains.items():
        what = "one frame" if name == "latency" else "frames that follow one another"
        saved = [f"{seconds * 1e3:+.3f}" for seconds in gain.saved_s.values()] if gain else [""] * 4
        ends = (
            (f"all on {gain.baseline}", f"{gain.before_s * 1e3:.3f}", f"{gain.after_s * 1e3:.3f}")
            if gain
            else ("no one stage can run the whole model", "", "")
        )
        rows.append(("", (what, *ends, *saved)))
    numbers = ("before ms", "now ms", "cache fit", "faster silicon", "transfers", "pipelining")
    columns = (("for", False), ("compared with", False), *((title, True) for title in numbers))
    note = "Milliseconds saved, negative where they are lost; the four add up to the difference."
    return document.table(columns, rows) + document.paragraph(note)


def _pieces(planned: Planned) -> str:
    chain = planned.outcome.chain
    rows = []
    for piece in planned.outcome.pick.pieces:
        layer = report_text.short_layer(planned.package.cut(chain.places[piece.stop]).layer) if piece.stop else ""
        seconds = (piece.hop_s, piece.preprocess_s, piece.run_s, piece.coding_s, piece.stream_s)
        rows.append(
            (
                "",
                (
                    chain.stages[piece.stage].name,
                    chain.places[piece.start],
                    chain.places[piece.stop],
                    layer,
                    f"{chain.wire_bytes[piece.start]:,.0f}" if piece.stage else "",
                    f"{(chain.parameter_bytes[piece.stop] - chain.parameter_bytes[piece.start]) / 1e6:,.2f}",
                    *(f"{one * 1e3:.3f}" for one in seconds),
                ),
            )
        )
    numbers = ("bytes in", "weights MB", "hop ms", "preprocess ms", "run ms", "coding ms", "streaming ms")
    columns = (("stage", False), ("from", False), ("to", False), ("ends after layer", False))
    return document.table((*columns, *((title, True) for title in numbers)), rows)


def _others(planned: Planned) -> str:
    outcome = planned.outcome
    rows = [
        ("choice" if made is outcome.pick else "", _row(planned, name, made)) for name, made in outcome.shown.items()
    ]
    columns = (("partition", False), ("pieces", False), ("latency ms", True), ("slowest stage ms", True))
    return document.table((*columns, ("why not", False)), rows)


def _row(planned: Planned, name: str, made: Partition) -> Sequence[object]:
    outcome = planned.outcome
    why_not = "" if made is outcome.pick else comparison.why_not(outcome, made)
    figures = (f"{made.latency_s * 1e3:.3f}", f"{made.slowest_s * 1e3:.3f}")
    return (name, comparison.shares(outcome.chain, made), *figures, why_not)


def _sources(planned: Planned) -> str:
    rows: list[tuple[str, Sequence[object]]] = []
    for stage in planned.outcome.chain.stages:
        cache = f"on-chip memory {stage.cache.bytes / 1e6:g} MB, streaming estimated" if stage.cache else ""
        rows.append(("", (f"{stage.name}: pieces", stage.origin.value, cache)))
        rows += page.profile_rows(stage.name, planned.machines[stage.name])
    rows += [("", (f"link {link.name}", link.origin.value, link.source)) for link in planned.links]
    return page.sources(rows)
