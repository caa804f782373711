"""`tflsplit trace`: which step takes the time of a frame."""

import json
from pathlib import Path
from typing import Any

import click

from tflsplit.api import files
from tflsplit.cli.output import examples, screen


@click.command(
    epilog=examples.epilog("tflsplit trace trace.jsonl", "tflsplit trace trace.jsonl --perfetto frames.json")
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--perfetto",
    type=click.Path(path_type=Path),
    metavar="OUT.json",
    help="Also write the frames to this file, which ui.perfetto.dev can open.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the summary as JSON.")
def command(file: Path, *, perfetto: Path | None, is_json: bool) -> None:
    """Show which step takes the time of a frame.

    FILE is what `tflsplit edge --trace FILE` wrote. Printed are percentiles of the time of each step, and of how many
    frames it was the longest step.

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
