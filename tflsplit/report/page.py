"""A plan as one HTML page that needs nothing else: no network, no scripts, pictures inside it.

What it shows is what `tflsplit plan --json` says; it computes nothing but where the pick would change.
"""

import html
from collections.abc import Sequence
from importlib import metadata

from tflsplit import account
from tflsplit.planning import Outcome, describe_link
from tflsplit.report import charts, network

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1080px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.15em; margin-top: 2em; }
p.answer { font-size: 1.15em; background: #eef5ff; border-left: 4px solid #2563a8; padding: .6em 1em; }
figure { margin: 1em 0; } figcaption { color: #57606a; } svg { max-width: 100%; height: auto; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25em .6em; border-bottom: 1px solid #d8dee4; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td:last-child { min-width: 24em; }
tr.choice { background: #dff3e4; font-weight: 600; } tr.infeasible { color: #8c959f; }
"""


def render(outcome: Outcome) -> str:
    """The page's text, a few hundred KB. DeviceError where matplotlib is not installed."""
    name = html.escape(outcome.package.manifest.name)
    sections = [
        _answer(outcome),
        _figure("Where the time goes", charts.latency_parts(outcome.decision), charts.LATENCY_CAPTION),
        _figure("Latency against bytes", charts.pareto(outcome.decision), charts.PARETO_CAPTION),
        _figure("What would be picked on another link", charts.best_map(outcome), charts.MAP_CAPTION),
        _figure("What travels, cut by cut", charts.payloads(outcome), charts.PAYLOAD_CAPTION),
        _figure("The network and the cut", network.drawing(outcome), network.CAPTION),
        "<h2>Every candidate</h2>" + _candidates(outcome),
        "<h2>Where the figures come from</h2>" + _sources(outcome),
    ]
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Plan for {name}</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _answer(outcome: Outcome) -> str:
    link = outcome.scenario.link
    work = outcome.scenario.workload
    rate = f"{work.rate_fps:g} frames a second" if work.rate_fps else "one frame at a time"
    conditions = (
        f"{outcome.package.manifest.name}, package {outcome.package.digest[:16]}, calibration: "
        f"{outcome.package.manifest.calibration.kind}. Edge {outcome.edge.name} ({outcome.edge.accelerator}), cloud "
        f"{outcome.cloud.name} ({outcome.cloud.accelerator}), link {link.name}: {link.bandwidth_bps / 1e6:g} Mbit/s, "
        f"{link.rtt_s * 1e3:g} ms ({link.origin.value}). {rate}; objective: {outcome.decision.wish.objective.value}."
    )
    changes = [
        f"<li>at {_BREAK_EVEN[name](found.value)} the pick would be {html.escape(found.choice or 'nothing')}</li>"
        for name, found in outcome.break_even.items()
        if found is not None
    ]
    return (
        f"<h1>Plan for {html.escape(outcome.package.manifest.name)}</h1><p>{html.escape(conditions)}</p>"
        f"<p class='answer'>{html.escape(account.reason(outcome.decision))}</p>"
        + (f"<p>What would change it:</p><ul>{''.join(changes)}</ul>" if changes else "")
    )


_BREAK_EVEN = {
    "bandwidth_bps": lambda value: f"{value / 1e6:.3g} Mbit/s",
    "rate_fps": lambda value: f"{value:.3g} frames a second",
    "price_per_gb": lambda value: f"a price of {value:.3g} a gigabyte",
}


def _figure(title: str, svg: str, caption: str) -> str:
    return f"<h2>{title}</h2><figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _candidates(outcome: Outcome) -> str:
    decision = outcome.decision
    front = set(decision.pareto)
    rows = []
    for judged in decision.judged:
        row = account.candidate(judged, decision)
        kind = "choice" if judged is decision.choice else "" if judged.is_feasible else "infeasible"
        latency = row["latency_ms"]
        cells = (
            judged.id,
            account.short_layer(judged.cost.candidate.cut.layer),
            _number(latency["p50"]),  # type: ignore[index]  # a dictionary, as account makes it
            _number(latency["p95"]),  # type: ignore[index]
            _number(row["throughput_fps"]),
            _number(row["payload_bytes"]),
            _number(row["bytes_per_day"]),
            f"{judged.cost.edge_load:.0%}",
            _number(row["edge_memory_bytes"]),
            "yes" if judged.id in front else "",
            row["why_not"] or "",
        )
        rows.append((kind, cells))
    columns = (
        ("candidate", False),
        ("after layer", False),
        ("p50 ms", True),
        ("p95 ms", True),
        ("frames/s", True),
        ("payload B", True),
        ("B/day", True),
        ("edge load", True),
        ("edge memory B", True),
        ("Pareto", False),
        ("why not", False),
    )
    return _table(columns, rows)


def _sources(outcome: Outcome) -> str:
    """Each figure of the pick with its origin, and what the two profiles and the link say of themselves."""
    rows: list[tuple[str, Sequence[object]]] = []
    shown = outcome.decision.choice or outcome.decision.nearest
    if shown is not None:
        rows += [("", (f"{shown.id}: {name}", origin.value, "")) for name, origin in shown.cost.origins.items()]
    for side, profile in (("edge", outcome.edge), ("cloud", outcome.cloud)):
        runs = min(timing.run.runs for timing in profile.cuts)
        rows.append(("", (f"{side} profile", "measured", f"{runs} or more runs a cut, on {profile.accelerator}")))
        rows += [("", (f"{side} {key}", "", value)) for key, value in profile.machine.items()]
    link = describe_link(outcome.scenario)
    rows.append(("", ("link", link["origin"], link["source"])))
    rows.append(("", ("made with", "", f"tflsplit {metadata.version('tflsplit')}")))
    return _table((("figure", False), ("origin", False), ("from", False)), rows)


def _table(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, Sequence[object]]]) -> str:
    def cell(tag: str, text: object, is_number: bool) -> str:
        return f"<{tag}{' class=number' if is_number else ''}>{html.escape(str(text))}</{tag}>"

    head = "".join(cell("th", name, is_number) for name, is_number in columns)
    body = "".join(
        f"<tr class='{kind}'>"
        + "".join(cell("td", text, is_number) for text, (_, is_number) in zip(cells, columns, strict=True))
        + "</tr>"
        for kind, cells in rows
    )
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _number(value: object) -> str:
    if value is None:
        return "∞"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if isinstance(value, float) else str(value)
