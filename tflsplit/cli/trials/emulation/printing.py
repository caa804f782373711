"""Machines that were emulated, for people: whether sharing gains, and each way with its times."""

from tflsplit import text
from tflsplit.cli.output import screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.cli.trials.emulation.comparison import CHANNELS, Emulated

_COLUMNS = (
    Column("placement", Kind.NAME),
    "ms",
    Column("predicted ms", rank=2),
    Column("frames/s", rank=1),
    Column("predicted frames/s", rank=3),
    Column("MB sent", rank=2),
    Column("largest memory MB", rank=3),
    Column("process MB", rank=4),
    "wrong",
)
# Computing that took so much longer than it should makes an emulation of something else.
_LATE = 0.05


def write(found: Emulated) -> None:
    screen.write(found.answer)
    gain = found.over(CHANNELS)
    if gain is not None:
        screen.write(f"{gain:.2f} times sharing by output channels")
    late = max(found.rows.values(), key=lambda row: row.late)
    if late.late > _LATE:
        screen.write(f"computing took {text.percent(late.late)} longer than its pace: this machine is busy or too slow")
    screen.write("")
    screen.table(
        "Times emulated; bytes, memory and wrong results counted, exact; process memory measured here",
        _COLUMNS,
        [
            (
                name.replace("_", " "),
                f"{row.latency_s * 1e3:.2f}",
                f"{row.costs.latency_s * 1e3:.2f}",
                f"{row.frames_per_s:.2f}",
                f"{row.predicted_per_s:.2f}",
                f"{row.costs.bytes_exchanged / 1e6:.3f}",
                f"{max(row.costs.memory_bytes) / 1e6:.2f}",
                f"{max(row.peak_bytes.values(), default=0) / 1e6:.0f}",
                f"{row.wrong} of {row.results}",
            )
            for name, row in found.rows.items()
        ],
    )
