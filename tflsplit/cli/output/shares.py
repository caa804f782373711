"""A network shared over machines, for people: the answer, the machines, and the schemes beside it."""

from tflsplit import text
from tflsplit.cli.output import screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.placement import distribution, machines
from tflsplit.placement.distribution import Distribution

_MACHINES = (
    Column("machine", Kind.NAME),
    "MMAC",
    "share",
    "memory MB",
    Column("weights MB", rank=1),
    Column("pieces", rank=2),
)
_SCHEMES = (
    Column("scheme", Kind.NAME),
    "ms",
    Column("frames/s", rank=2),
    "MB sent",
    Column("largest memory MB", rank=1),
)


def write(found: Distribution) -> None:
    costs = found.costs
    screen.write(f"{found.reason}: {costs.latency_s * 1e3:.2f} ms, {costs.bytes_exchanged:,} bytes exchanged")
    if len(found.used) > 1:
        screen.write(
            f"computed more than once: {text.percent(found.halo_overhead)}; without that "
            f"{found.unfused_bytes:,} bytes would be exchanged"
        )
    if found.balance is not None and len(found.used) > 1:
        parts = found.balance
        screen.write(
            f"{parts.over_evenly:.2f} times as long as all work over all speed and the exchange: pieces' overhead "
            f"{parts.overhead_s * 1e3:.2f} ms, waiting {parts.waiting_s * 1e3:.2f}, computed again "
            f"{parts.repeated_s * 1e3:.2f}"
        )
    if found.assumed:
        screen.write(
            f"overhead of a piece: {machines.ASSUMED_PIECE_S * 1e3:g} ms is assumed of "
            f"{text.counted(len(found.assumed), 'machine')}; a profile measures it, `overhead` states it"
        )
    if found.proof is not None and not found.proof.is_exact:
        screen.write(f"not exact: {found.proof}")
    if found.unshared:
        kinds = ", ".join(sorted(set(found.unshared)))
        screen.write(f"on one machine, as nobody knows how to share them: {kinds}")
    screen.write("")
    total = sum(costs.macs) or 1
    rows = [
        (
            machine.name,
            f"{costs.macs[each] / 1e6:.1f}",
            text.percent(costs.macs[each] / total),
            f"{costs.memory_bytes[each] / 1e6:.2f}",
            f"{costs.parameter_bytes[each] / 1e6:.2f}",
            sum(step.pieces[each] is not None for step in found.schedule.steps),
        )
        for each, machine in enumerate(found.cluster.machines)
    ]
    screen.table("Machines (counted, exact)", _MACHINES, rows)
    screen.write("")
    compared = {"this placement": costs, **found.schemes}
    screen.table(
        "Beside simple schemes (times follow from the stated speeds and links)",
        _SCHEMES,
        [
            (
                name.replace("_", " ") + ("" if distribution.fits(each, found.cluster) else ", too large"),
                f"{each.latency_s * 1e3:.2f}",
                f"{1 / each.busy_s:.2f}",
                f"{each.bytes_exchanged / 1e6:.3f}",
                f"{max(each.memory_bytes) / 1e6:.2f}",
            )
            for name, each in compared.items()
        ],
    )
