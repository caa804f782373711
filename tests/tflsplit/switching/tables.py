"""Choices and links with invented figures, like EfficientNet-B0's on a slow device and a fast server."""

from tflsplit.switching import traces
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.traces import Conditions

WHOLE_S = 0.115


def choices():
    """The input, two cuts, and all on the device."""
    rows = (("input", 0.0, 156_000, 0.033), ("op020", 0.021, 32_000, 0.025), ("op060", 0.063, 9_800, 0.0096))
    found = [Choice(name, edge_s, wire, cloud_s, WHOLE_S - edge_s) for name, edge_s, wire, cloud_s in rows]
    return [*found, Choice("output", WHOLE_S, 0.0, 0.0, 0.0)]


def present(mbit=5.0, rtt_s=0.04, **more):
    return Present(1 / (mbit * 1e6), rtt_s, **more)


def link(*rows, name="made"):
    """Rows of (seconds, Mbit/s) or (seconds, Mbit/s, conditions), one after the other."""
    found, now_s = [], 0.0
    for seconds, mbit, *said in rows:
        found.append((now_s, mbit * 1e6, said[0] if said else Conditions()))
        now_s += seconds
    return traces.of_rates(name, found, now_s)
