"""Writes the three traces beside it: made, not measured, from models of what links do. `python examples/traces/make.py`

train       a cellular link along a railway: cells that come and go every half minute, hand-overs, and tunnels
wifi        a shared access point through a busy hour: rates that neighbours take, loss, and a shared server
lte         a car in a city: a slow fading of the signal (first-order autoregressive), and a pause at each hand-over
"""

import math
import random
from pathlib import Path

SECONDS = 600
STEP_S = 0.5
HEAD = "time_s,rate_bps,rtt_s,loss,load"


Row = tuple[float, float, float, float, float]


def train(chance: random.Random) -> list[Row]:
    """A cell's centre carries 12 Mbit/s, its edge one; two tunnels of half a minute carry nothing or next to it."""
    rows = []
    for step in range(int(SECONDS / STEP_S)):
        now_s = step * STEP_S
        place = now_s % 32.0 / 32.0
        rate = 1e6 + 11e6 * math.sin(math.pi * place) ** 2
        rtt_s = 0.05 + 0.05 * (1 - math.sin(math.pi * place))
        if now_s % 32.0 < 1.0 and now_s:
            rate, rtt_s = 0.1e6, 0.4
        if 150 <= now_s < 180 or 410 <= now_s < 425:
            rate, rtt_s = (0.0 if 160 <= now_s < 172 else 0.05e6), 0.8
        rows.append((now_s, rate * chance.uniform(0.8, 1.2), rtt_s, 0.0, 0.0))
    return rows


def wifi(chance: random.Random) -> list[Row]:
    """Up to seven neighbours at a time, who come and go, share 40 Mbit/s; from the middle on the server has others."""
    rows, neighbours = [], 2
    for step in range(int(SECONDS / STEP_S)):
        now_s = step * STEP_S
        busy = 1 + 6 * math.sin(math.pi * now_s / SECONDS)
        if chance.random() < 0.08:
            neighbours = min(7, max(0, round(chance.gauss(busy, 1.5))))
        load = 0.85 if 330 <= now_s < 450 else 0.1
        loss = 0.002 * neighbours
        rate = 40e6 / (1 + neighbours) ** 1.4
        rows.append((now_s, rate * chance.uniform(0.6, 1.1), 0.004 + 0.006 * neighbours, loss, load))
    return rows


def lte(chance: random.Random) -> list[Row]:
    """In decibels around 6 Mbit/s, remembered for ten seconds; every 45 seconds or so a hand-over of one second."""
    rows, fading_db, hand_over_s = [], 0.0, chance.expovariate(1 / 45)
    for step in range(int(SECONDS / STEP_S)):
        now_s = step * STEP_S
        fading_db = 0.95 * fading_db + chance.gauss(0.0, 1.6)
        rate, rtt_s = 6e6 * 10 ** (fading_db / 10), 0.045
        if hand_over_s <= now_s < hand_over_s + 1.0:
            rate, rtt_s = 0.05e6, 0.3
        elif now_s >= hand_over_s + 1.0:
            hand_over_s = now_s + chance.expovariate(1 / 45)
        rows.append((now_s, min(rate, 40e6), rtt_s, 0.0, 0.0))
    return rows


def main() -> None:
    for seed, make in enumerate((train, wifi, lte), 1):
        rows = make(random.Random(seed))  # noqa: S311  # the same numbers each time, not secrets
        lines = [f"{now_s:g},{rate:.0f},{rtt_s:.4f},{loss:g},{load:g}" for now_s, rate, rtt_s, loss, load in rows]
        Path(__file__).with_name(f"{make.__name__}.csv").write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
