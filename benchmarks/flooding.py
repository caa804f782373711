"""A cloud in model time whose devices are taken in turn, and one of them floods: the queueing alone, without a machine.

`python benchmarks/flooding.py` prints what each flood costs the others, of as many seeds as its first word says (9).
"""

import heapq
import random
import statistics
import sys

from broker.cloud.turns import fair_queue, shares

AT_A_RATE, WINDOW = "100 times their rate", "8 frames on their way"
LOADS, TAILS = (0.45, 0.8, 0.95, 1.0), (1, 2)
_DEVICES, _TIMES, _IN_WINDOW, _FOR_S = 16, 100, 8, 60.0
_TAIL_S = 0.02  # of a frame, where one is run at a time
_AGAIN_S = 0.001  # from an answer to the frame that follows it
_FLOOD = "flood"


def p95_s(load: float, tails: int, seed: int, flood: str | None = None) -> float:
    """Of the frames of devices that send at random moments and load a cloud of so many `tails` at a time by `load`."""
    drawn, at_s, tail_s = random.Random(seed), 0.0, _TAIL_S * tails
    coming: list[tuple[float, str]] = []
    while (at_s := at_s + drawn.expovariate(load / _TAIL_S)) < _FOR_S:
        coming.append((at_s, f"cam-{drawn.randrange(_DEVICES)}"))
    if flood == AT_A_RATE:
        period_s = _TAIL_S * _DEVICES / load / _TIMES
        coming += [(number * period_s, _FLOOD) for number in range(int(_FOR_S / period_s))]
    elif flood == WINDOW:
        coming += [(0.0, _FLOOD)] * _IN_WINDOW
    heapq.heapify(coming)
    return statistics.quantiles(_waits(coming, tails, tail_s, flood), n=100, method="inclusive")[94]


def _waits(coming: list[tuple[float, str]], tails: int, tail_s: float, flood: str | None) -> list[float]:
    """How long each frame of an ordinary device took; `coming` is a heap."""
    waiting: fair_queue.FairQueue[tuple[float, str]] = fair_queue.FairQueue()
    held, running, found = shares.Shares(shares.Limits()), [], []
    while coming or running:
        now_s = min(each[0][0] for each in (coming, running) if each)
        while running and running[0][0] <= now_s:
            _, came_s, device = heapq.heappop(running)
            waiting.served(device, tail_s)
            held.remove(device, 1)
            if device != _FLOOD:
                found.append(now_s - came_s)
            elif flood == WINDOW and now_s < _FOR_S:
                heapq.heappush(coming, (now_s + _AGAIN_S, _FLOOD))
        while coming and coming[0][0] <= now_s:
            came_s, device = heapq.heappop(coming)
            if held.has_room(device):
                held.add(device, 1)
                waiting.put(device, (came_s, device))
        while len(running) < tails and len(waiting):
            taken = waiting.take()
            assert taken is not None
            heapq.heappush(running, (now_s + tail_s, *taken))
    return found


def rows(seeds: int) -> list[tuple[str, ...]]:
    """For each number of tails, load and flood: p95 without it, and how many times as long it is beside it."""
    made = []
    for tails in TAILS:
        for load in LOADS:
            alone = [p95_s(load, tails, seed) for seed in range(seeds)]
            for flood in (AT_A_RATE, WINDOW):
                ratios = [p95_s(load, tails, seed, flood) / alone[seed] for seed in range(seeds)]
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                before = f"{statistics.median(alone) * 1e3:,.0f}"
                made.append((str(tails), f"{load:.0%}", flood, before, spread))
    return made


COLUMNS = ("tails at a time", "load of the others", "the flood", "p95 without it, ms", "beside it, times as long")


if __name__ == "__main__":
    for row in (COLUMNS, *rows(int(sys.argv[1]) if len(sys.argv) > 1 else 9)):
        print(" | ".join(row), flush=True)
