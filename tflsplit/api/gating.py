"""The gate of an edge: which answers stay on the device, and the rest of the model that this takes there."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tflsplit import errors, quantities
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge without a gate starts without it
    from edge_runtime.answering.gate import Terms
    from edge_runtime.answering.on_device import OnDevice

AUDIT = "1%"


def terms(
    answer_here: str | float | None, at_most: str | None = None, audit: str | float | None = None
) -> "Terms | None":
    """From the words of a call or a command; SettingsError for wrong ones, and for some that say nothing alone."""
    if answer_here is None:
        if at_most is not None or audit is not None:
            raise errors.SettingsError("at_most and audit say what a gate sends on: give answer_here as well")
        return None
    from edge_runtime.answering.gate import Terms

    limit = None if at_most is None else quantities.parse_rate(at_most, "at_most")
    share = quantities.parse_share(AUDIT if audit is None else audit, "audit")
    return Terms(quantities.parse_share(answer_here, "answer_here"), limit, share)


def check(package: Package, wanted: "Terms | None", cut: Cut | None, *, until: str | None) -> None:
    """SettingsError for what a gate cannot do: answers without scores, audits whose result does not come, nothing left
    for the cloud at `cut` (None for one that moves), frames that follow each other."""
    if wanted is None:
        return
    from edge_runtime.answering.gate import Gate

    Gate(package, wanted)
    if until == "ack" and wanted.audit > 0:
        raise errors.SettingsError(
            "a gate that audits, until ack: an acknowledgement does not say what the cloud's answer is; give an audit "
            "of 0, or keep frames until the result"
        )
    if package.manifest.is_stateful:
        raise errors.SettingsError(
            f"{package.path}: it is stateful, and a tail that gets doubtful frames alone lacks what the others left: "
            "leave the gate out"
        )
    if cut is not None and not cut.tail.operators:
        raise errors.SettingsError(f"a gate at {cut.id}: nothing is left for the cloud to compute there; cut elsewhere")


@contextlib.contextmanager
def started(
    package: Package, cut: Cut, wanted: "Terms | None", *, threads: int = 1, batch: int = 1
) -> "Iterator[OnDevice | None]":
    """The rest of the model behind a cut that stays, with the gate, which was checked; None without one. PackageError
    in a bundle, which has no whole model, SettingsError where it does not take so many inputs at once."""
    if wanted is None:
        yield None
        return
    from edge_runtime import batched
    from edge_runtime.answering.gate import Gate
    from edge_runtime.answering.on_device import OnDevice

    with batched.chained(package, (cut, package.cuts[-1]), threads=threads, batch=batch) as chain:
        yield OnDevice(package, chain, gate=Gate(package, wanted))
