"""What a scrape of the metrics of a thousand devices costs the frames that pass meanwhile: their p99 with and without.

The fleet of `fleet.py`, 1,000 devices with 1,000 frames a second, a cloud with `--metrics` and `tflsplit fleet
--metrics`, which tells each device's series, all over one broker. For four seconds both are scraped every two seconds,
seven times as often as usual, then not for four seconds, and so on: each window is compared with the one before it, all
in one run. It says nothing on a machine that does not carry these frames beside its other work, and tells so instead.
"""

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import harness
import numpy as np
from crowd import generator, material, running
from harness import Outcome, Samples, Table

from broker.fleet import totals
from broker.messages import telemetry
from tflsplit.observing import exposition

TARGET_S = 0.002
_DEVICES, _PER_S = 1_000, 1_000.0
_WINDOW_S, _PAUSE_S, _LOOK_S = 4.0, 2.0, 0.2
_SCRAPE_S, _ANSWERS_S = 10.0, 60.0  # how long one scrape, and the last answers, may take
_CARRIED = 0.98  # of the frames: else they wait for the machine, and not for a scrape
_SIZES, _TIMES = (1_000, 10_000), 15
_MARGIN_S = 0.3  # at a window's ends, which belongs to neither


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    devices, steady_s = (100, 30.0) if is_quick else (_DEVICES, 120.0)
    ports = [running.free_port() for _ in range(2)]
    home, ending, scraped = folder / "scraping", threading.Event(), [0, 0]
    package = material.package(folder)
    scraping = threading.Thread(target=_scrape, args=(home, ports, ending, scraped))
    scraping.start()
    try:
        options = ("--metrics", f"127.0.0.1:{ports[0]}")
        course = {"kills": 0, "steady_s": steady_s, "patience_s": _ANSWERS_S}
        found = running.measured(home, package, devices, _PER_S / devices, cloud=options, **course)
    finally:
        ending.set()
        scraping.join()
    if found.counts["held_back"] or found.answered_per_s < _CARRIED * _PER_S:
        raise harness.SkippedError(
            f"this machine answered {found.answered_per_s:,.0f} of {_PER_S:,.0f} frames a second, and "
            f"{found.counts['held_back']:,} found a full window, beside other work that took {found.others:.1f} cores; "
            "run it where nothing else is done"
        )
    if not all(scraped):
        raise SystemExit(f"scraped {scraped[0]} times from the cloud, {scraped[1]} from `tflsplit fleet`")
    [(_, told)] = json.loads((home / generator.TOLD).read_text())
    with np.load(home / generator.RECORD) as arrays:
        without, beside = _windows(arrays["due_s"], arrays["answered_s"])
    differences = tuple(one - other for one, other in zip(beside, without, strict=True))
    what = f"p99 of frames of {devices:,} devices, longer while it is scraped every {_PAUSE_S:g} s"
    rows = [(_ms(without), _ms(beside), f"{scraped[0]:,}, {scraped[1]:,}")]
    columns = ("p99 without, ms: median of windows", "beside scrapes", "scrapes of the cloud, of `tflsplit fleet`")
    outcome = Outcome(what, Samples("longer by", "s", differences), harness.limit(TARGET_S, "s"), 1.0)
    costs = tuple(_cost(json.dumps(told).encode(), devices) for devices in _SIZES)
    taken = Table("Processor time of a scrape of a cloud: the median of some", ("devices", "ms", "bytes"), costs)
    return [outcome, Table("The windows", columns, tuple(rows)), taken]


def _cost(told: bytes, devices: int) -> tuple[str, ...]:
    shown, said = totals.Totals("fleet"), telemetry.parse(told)
    for number in range(devices):
        shown.told(f"device-{number}", said)
    render, taken_s = exposition.renderer(shown.families), []
    for _ in range(_TIMES):
        before_s = time.thread_time()
        document, _ = render("text/plain")
        taken_s.append(time.thread_time() - before_s)
    return f"{devices:,}", f"{statistics.median(taken_s) * 1e3:.1f}", f"{len(document):,}"


def _scrape(home: Path, ports: Sequence[int], ending: threading.Event, scraped: list[int]) -> None:
    """In every other window of the monotonic clock."""
    credentials = home / "broker" / "clients" / "consumer"
    while not _answers(ports[0]):
        if ending.wait(_LOOK_S):
            return
    command = [harness.TFLSPLIT, "fleet", "--credentials", str(credentials), "--metrics", f"127.0.0.1:{ports[1]}"]
    with harness.process(command):
        while not ending.wait(_PAUSE_S):
            if _is_scraped(time.monotonic()):
                for place, port in enumerate(ports):
                    scraped[place] += _answers(port)


def _is_scraped(now_s: float) -> bool:
    return int(now_s / _WINDOW_S) % 2 == 1


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_S) as told:
            return len(told.read()) > 0
    except OSError:
        return False


def _windows(due_s: np.ndarray, answered_s: np.ndarray) -> tuple[list[float], list[float]]:
    """p99 of each window without scrapes, and of the one with them that follows it."""
    found: dict[int, float] = {}
    for window in range(int(due_s.min() / _WINDOW_S) + 1, int(due_s.max() / _WINDOW_S)):
        begin_s = window * _WINDOW_S
        chosen = (due_s >= begin_s + _MARGIN_S) & (due_s < begin_s + _WINDOW_S - _MARGIN_S) & (answered_s > 0)
        found[window] = float(np.percentile((answered_s - due_s)[chosen], 99))
    pairs = [window for window in found if not _is_scraped(window * _WINDOW_S) and window + 1 in found]
    return [found[window] for window in pairs], [found[window + 1] for window in pairs]


def _ms(values: Sequence[float]) -> str:
    return f"{np.median(values) * 1e3:.1f} ({min(values) * 1e3:.1f} to {max(values) * 1e3:.1f})"
