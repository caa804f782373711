"""`tflsplit trace`: where the time of the frames in a trace went."""

import json
from pathlib import Path
from typing import Any

import click

from tflsplit.api import files
from tflsplit.cli.output import screen


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--perfetto", type=click.Path(path_type=Path), metavar="OUT.json", help="Write the frames for ui.perfetto.dev."
)
@click.option("--json", "is_json", is_flag=True, help="Print as JSON.")
def command(file: Path, *, perfetto: Path | None, is_json: bool) -> None:
    """Summarise the trace that `tflsplit edge --trace` wrote: percentiles of each part, and which part dominates.

    \b
    Python: edge_runtime.monitoring.breakdown.summarise(edge_runtime.monitoring.frame_trace.read(file))
    """
    from edge_runtime.monitoring import breakdown, frame_trace

    lines = list(frame_trace.read(file))
    found: dict[str, Any] = breakdown.summarise(lines)
    if perfetto is not None:
        files.write_whole(perfetto, json.dumps(breakdown.as_perfetto(lines)))
    if is_json:
        screen.as_json(found)
        return
    rows = [(part, *times.values(), found["dominant"].get(part, 0)) for part, times in found["parts_ms"].items()]
    rows.append(("total", *found["total_ms"].values(), ""))
    screen.table(
        f"{file}: milliseconds of {found['frames']} frames",
        ("part", "p50", "p95", "p99", "longest part of"),
        rows,
    )
