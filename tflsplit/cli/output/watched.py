"""The tables of `tflsplit watch` and `tflsplit fleet`: JSON of `broker.watching` in, columns and rows out."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tflsplit.cli.output.tables import Column, Kind

Fields = Mapping[str, Any]

DEVICES = (
    Column("device", Kind.NAME),
    Column("state"),
    Column("label", Kind.NAME, rank=1),
    Column("ago", rank=2),
    Column("fps", rank=2),
    Column("p50 ms", rank=3),
    Column("cut", rank=4),
    Column("drops", rank=5),
    Column("spool", rank=6),
    Column("runs on", rank=7),
    Column("head", rank=8),
    Column("wire", rank=8),
    Column("tail", rank=8),
    Column("model", Kind.NAME, rank=9),
    Column("update", rank=10),
    Column("problem", Kind.NOTE),
)
CLOUDS = (
    Column("cloud", Kind.NAME),
    Column("state"),
    Column("fps", rank=1),
    Column("held", rank=2),
    Column("waiting", rank=2),
    Column("workers", rank=3),
    Column("queue p95 ms", rank=4),
    Column("tail p50 ms", rank=4),
    Column("models", Kind.NAME, rank=5),
    Column("problem", Kind.NOTE, rank=1),
)
WORKERS = (
    Column("worker", Kind.NAME),
    Column("state"),
    Column("share"),
    Column("fps", rank=2),
    Column("frames", rank=3),
    Column("speed", rank=4),
    Column("epoch", rank=5),
    Column("problem", Kind.NOTE, rank=1),
)
FLEET = (
    Column("device", Kind.NAME),
    Column("state"),
    Column("since", rank=2),
    Column("model", Kind.NAME, rank=3),
    Column("package", rank=5),
    Column("cut", rank=1),
    Column("runs on", rank=6),
    Column("version", rank=4),
    Column("certificate ends", rank=4),
    Column("fps", rank=7),
    Column("p50 ms", rank=7),
    Column("problem", Kind.NOTE, rank=2),
)
# As `tflsplit fleet --csv` and spreadsheets have them.
CSV = (
    *("device", "state", "reason", "since_ms", "last_seen_ms", "model", "package", "cut", "accelerator", "runs_on"),
    *("version", "certificate_ends_s", "fps", "p50_ms", "problem"),
)


def device(told: Fields) -> Sequence[object]:
    parts, spool, update = told["parts_ms"], told["spool"], told["update"]
    answer = told["label"] if told["label"] is not None else _values(told["values"])
    scored = answer if told["score"] is None else f"{answer} {told['score']:.2f}"
    return (
        told["device"],
        told["state"],
        told["found"] or scored,
        _age(told["answered_s_ago"]),
        _fixed(told["fps"], 1),
        _fixed(told["latency_ms"].get("p50"), 1),
        told["cut"],
        _drops(told["drops"], told["refused"]),
        None if spool is None else f"{_whole(spool['frames'])}{' full' if spool['full'] else ''}",
        told["runs_on"],
        *(_fixed(parts.get(part), 1) for part in ("head", "wire", "tail")),
        told["model"],
        None if update is None else " ".join(map(str, filter(None, (update["state"], _percent(update["percent"]))))),
        told["problem"],
    )


def cloud(told: Fields) -> Sequence[object]:
    return (
        told["cloud"],
        told["state"],
        _fixed(told["fps"], 1),
        told["held"],
        told["waiting"],
        told["workers"],
        _fixed(told["queue_ms"].get("p95"), 1),
        _fixed(told["tail_ms"].get("p50"), 1),
        ", ".join(each["model"] for each in told["packages"]),
        told["problem"],
    )


def worker(told: Fields) -> Sequence[object]:
    speed = _fixed(told["speed"], 2)
    counts = (_fixed(told["fps"], 1), told["frames"], speed, told["epoch"])
    return (told["worker"], told["state"], told["share"], *counts, told["problem"])


def tables(told: Fields) -> Sequence[tuple[str, Sequence[Column], Sequence[Sequence[object]]]]:
    """Title, columns and rows of each table that is not empty; the devices' is always there, and last."""
    others = (
        ("clouds", CLOUDS, [cloud(each) for each in told["of_clouds"]]),
        ("workers", WORKERS, [worker(each) for each in told["of_workers"]]),
    )
    devices = (summary(told), DEVICES, [device(each) for each in told["of_devices"]])
    return [(title, *_without_empty(columns, rows)) for title, columns, rows in others if rows] + [
        (devices[0], *_without_empty(*devices[1:]))
    ]


def _without_empty(
    columns: Sequence[Column], rows: Sequence[Sequence[object]]
) -> tuple[Sequence[Column], Sequence[Sequence[object]]]:
    """Without the columns of which no row has anything, so that there is room for the others."""
    kept = [place for place, column in enumerate(columns) if not column.rank or any(row[place] for row in rows)]
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]


def fleet(told: Fields) -> Sequence[object]:
    return (
        told["device"],
        told["state"],
        _since(told),
        told["model"],
        (told["package"] or "")[:12],
        told["cut"],
        told["runs_on"],
        told["version"],
        _day(told["certificate_ends_s"]),
        _fixed(told["fps"], 1),
        _fixed(told["latency_ms"].get("p50"), 1),
        told["problem"],
    )


def csv_row(told: Fields) -> Sequence[object]:
    flat = {**told, "p50_ms": told["latency_ms"].get("p50")}
    return [_no_formula(flat[name]) for name in CSV]


def summary(told: Fields, *, has_results: bool = True) -> str:
    """Without a rate where nobody listened to results: none heard is not none there."""
    rate = f", {told['fps']:,.1f} results a second" if has_results else ""
    problems = f", {told['problems']} with a problem" if told["problems"] else ""
    unborn = f"; {told['unborn']:,} more are online, of which the broker told nothing else" if told["unborn"] else ""
    left_out = f"; {told['left_out']:,} messages of devices beyond those shown" if told["left_out"] else ""
    return (
        f"{told['deployment']}: {told['online']:,} of {told['devices']:,} devices online{problems}, "
        f"{told['clouds_online']:,} of {told['clouds']:,} clouds{rate}{unborn}{left_out}"
    )


def _no_formula(cell: object) -> object:
    """What a spreadsheet would compute is made text: a model's name comes from a stranger."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _values(values: Fields | None) -> str | None:
    if not values:
        return None
    return " ".join(f"{number:.4g}" for numbers in values.values() for number in numbers)


def _drops(drops: Fields | None, refused: Fields) -> str | None:
    """None where it is not known: without telemetry only refusals are seen."""
    return None if drops is None and not refused else _whole(sum((drops or {}).values()) + sum(refused.values()))


def _age(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _fixed(number: float | None, digits: int) -> str | None:
    return None if number is None else f"{number:,.{digits}f}"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0f}%"


def _since(told: Fields) -> str | None:
    """When who is online began, or who is offline went, as far as that is known: a last will is written before."""
    at_ms = told["since_ms"] if told["state"] == "online" else told["last_seen_ms"]
    moment = _date(None if at_ms is None else at_ms / 1e3, "%Y-%m-%d %H:%M")
    return f"after {moment}" if moment and told["reason"] == "lost" else moment


def _day(ends_s: float | None) -> str | None:
    return _date(ends_s, "%Y-%m-%d")


def _date(since_s: float | None, form: str) -> str | None:
    """In UTC, as logs and certificates have it; None for what no calendar has."""
    try:
        return (
            None if since_s is None else datetime.datetime.fromtimestamp(since_s, datetime.timezone.utc).strftime(form)
        )
    except (ValueError, OverflowError, OSError):
        return None
