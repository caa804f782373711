"""Pushes a package to a few devices, one after the other, up to the first that fails: a rollout of one device each."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from broker.messages import updates
from broker.messages.updates import Report
from broker.rollout import finding, statefile
from broker.rollout.bundles import Bundles
from broker.rollout.offering import Signer
from broker.rollout.running import Rollout
from broker.rollout.statefile import Entry, Plan
from broker.rollout.terms import Terms
from broker.rollout.visit import Means
from broker.transport.protocol import Transport
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state` is the final state, or the last that the device reported before the time-out (None: it never did), and
    `reason` why it is that, or that the device is offline. `cut` is the id of the cut that was pushed."""

    device: str
    cut: str
    state: updates.State | None
    reason: str | None
    seconds: float
    sent_bytes: int

    @property
    def is_installed(self) -> bool:
        return self.state is updates.State.INSTALLED

    def as_json(self) -> dict[str, object]:
        return {
            "device": self.device,
            "cut": self.cut,
            "state": self.state.value if self.state else None,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "sent_bytes": self.sent_bytes,
        }


def push(
    transport: Transport,
    deployment: str,
    pushed: Package,
    names: Sequence[str],
    signer: Signer,
    *,
    wait_s: float,
    cut: str | None = None,
    url: str | None = None,
    on_report: Callable[[Report], None] = lambda report: None,
) -> Iterator[Outcome]:
    """The outcome for each device, up to the first that did not install the package.

    CutError or PackageError if it cannot be cut so, PeerError if a device takes no updates.
    """
    bundles = Bundles(pushed, cut=cut)
    try:
        for name in names:
            roster = finding.one(transport, deployment, name, wait_s=min(wait_s, finding.LONGEST_S))
            chosen = bundles.cut_for(roster.device(name))
            bundles.made_for(roster.device(name), chosen)
            terms = Terms(canary=1, most_failed=1.0, wait_s=wait_s)
            plan = Plan(deployment, pushed.digest, True, None, chosen.id, url, terms)
            began_s = time.monotonic()
            means = Means(transport, roster, signer, on_report=on_report)
            with statefile.create(None, plan, [name]) as state:
                Rollout(means, state, bundles, _no_way_back, stay_s=wait_s).run()
                (entry,) = state.entries.values()
            finding.forget(transport, deployment, [name])
            outcome = _outcome(entry, chosen.id, time.monotonic() - began_s, roster.absence(name))
            yield outcome
            if not outcome.is_installed:
                return
    finally:
        bundles.close()


def _no_way_back(path: Path) -> Bundles:
    raise AssertionError(f"nobody steers a push, to {path} or elsewhere")


def _outcome(entry: Entry, cut: str, seconds: float, absence: str | None) -> Outcome:
    state = None if entry.said is None else updates.State(entry.said)
    reason = entry.reason if state is not None and state.is_final else absence
    return Outcome(entry.name, cut, state, reason, seconds, entry.sent_bytes)
