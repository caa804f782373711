"""One device on its way to another model: observed, offered, served with pieces, and observed again."""

import contextlib
import logging
import time
from collections.abc import Callable

from broker.messages import results, telemetry, topics, updates
from broker.messages.topics import Kind
from broker.messages.updates import Report
from broker.rollout import health, offering
from broker.rollout.bundles import Bundles
from broker.rollout.devices import Roster
from broker.rollout.offering import Push, Signer
from broker.rollout.statefile import Entry, Plan, State
from broker.transport.protocol import ConnectionState, Message, Transport
from tflsplit import errors
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

# Of the wait for a device's final word: it is taken for away if it says nothing at all for so long, as one that went
# before a broker was killed, which had saved it as online.
_SILENT = 0.1


@dataclass(frozen=True, slots=True)
class Means:
    """What every visit needs. `clock_s` is the time since the epoch."""

    transport: Transport
    roster: Roster
    signer: Signer
    clock_s: Callable[[], float] = time.time
    on_report: Callable[[Report], None] = lambda report: None


class Visit:
    """Changes its `entry`, which is on disk before `look` publishes anything of it. `is_back`: without observing.

    The answers of the new model count from its first one on: those that the device wants before it keeps the model are
    as good as later ones.
    """

    def __init__(
        self, means: Means, plan: Plan, bundles: Bundles, entry: Entry, now_s: float, *, is_back: bool
    ) -> None:
        """BrokerError if what the device reports may not be read."""
        self.entry = entry
        self._means, self._plan, self._bundles = means, plan, bundles
        self._observes = plan.terms.observes and not is_back
        self._push: Push | None = None
        self._observed = health.Observed()
        self._since_s = self._heard_s = now_s
        self._topics = [topics.topic(plan.deployment, entry.name, Kind.TELEMETRY)]
        if self._observes and plan.terms.least_agreement is not None:
            self._topics.append(topics.topic(plan.deployment, entry.name, Kind.RESULTS))
        for each in self._topics:
            means.transport.subscribe(each)
        if entry.state is State.OFFERED:
            self.offer(now_s)

    def close(self) -> None:
        for each in self._topics:
            with contextlib.suppress(errors.BrokerError):  # it is not heard of again anyway
                self._means.transport.unsubscribe(each)

    @property
    def is_travelling(self) -> bool:
        return self._push is not None and self._push.is_travelling

    def may_be_offered(self, now_s: float) -> bool:
        """Whether it is known how the device does with the model of before."""
        return self.entry.state is State.WAITING and (not self._observes or self._is_observed(now_s))

    def offer(self, now_s: float) -> None:
        """Makes the offer, the same one as before if there was one; `look` publishes it."""
        entry, plan, means = self.entry, self._plan, self._means
        try:
            device = means.roster.device(entry.name)
            cut = self._bundles.pushed.cut(entry.cut) if entry.cut else self._bundles.cut_for(device)
            bundle = self._bundles.made_for(device, cut)
            for serial in (entry.serial, offering.next_serial(device, int(means.clock_s() * 1000))):
                if serial > 0:
                    made = offering.offer(plan.deployment, device, bundle, cut, serial=serial, url=plan.url)
                    push = offering.push(made, bundle, means.signer)
                    if entry.offer in (None, push.signed.id):
                        break
            push.room(means.transport)
        except (errors.CutError, errors.PackageError, errors.PeerError) as problem:
            self._end(State.FAILED, str(problem))
            return
        if self._observes and not entry.before:
            entry.before = self._observed.as_json()
        self._observed = health.Observed()
        entry.state, entry.serial, entry.offer, entry.cut = State.OFFERED, serial, push.signed.id, cut.id
        push.sent_bytes = entry.sent_bytes
        self._push, self._since_s, self._heard_s = push, now_s, now_s

    def look(self, now_s: float) -> None:
        """To be called regularly, and not before the entry is on disk."""
        if self.entry.state is State.OFFERED and self._push is not None:
            self._push.say(self._means.transport, now_s)
            if now_s - self._since_s >= self._plan.terms.wait_s:
                said = f"the last was {self.entry.said}" if self.entry.said else "is it running, with --update-key?"
                self._end(State.FAILED, f"no final word in {self._plan.terms.wait_s:g} s: {said}")
            elif self._is_silent(now_s):
                self._means.roster.doubted.add(self.entry.name)
                self.put_off()
        elif self.entry.state is State.OBSERVED and self._is_observed(now_s):
            judged = health.judge(self.entry.before, self._observed, self._plan.terms)
            self.entry.lacking = list(judged.lacking)
            self._end(State.INSTALLED if judged.problem is None else State.UNHEALTHY, judged.problem)

    def take(self, kind: Kind, message: Message, now_s: float) -> None:
        """A message of the device on one of the topics that are read for it."""
        self._heard_s = now_s
        with contextlib.suppress(errors.FrameError):  # a damaged one says nothing, and the next one replaces it
            if kind is Kind.RESULTS:
                self._take_result(results.parse(message.payload))
            elif message.payload.startswith(updates.REPORT_MAGIC):
                report = updates.parse_report(message.payload)
                if report is not None and self._push is not None and self._push.take(report, now_s):
                    self._take_report(report, self._push, now_s)
            elif (
                self._observes
                and self.entry.state is not State.OFFERED
                and not telemetry.is_for_others(message.payload)
            ):
                self._observed.take_latency(telemetry.parse(message.payload).latency_ms.get("p50"))

    def _take_result(self, answer: results.Result | results.Refusal) -> None:
        """Answers by another model than that which is observed are left out: they may come late."""
        if not isinstance(answer, results.Result):
            return
        is_new = self._bundles.pushed.digest.startswith(answer.package)
        if is_new is (self.entry.state is not State.WAITING):
            self._observed.take_label(answer.label)

    def _take_report(self, report: Report, push: Push, now_s: float) -> None:
        self._means.on_report(report)
        entry = self.entry
        if entry.state is not State.OFFERED:
            return
        entry.said = report.state.value
        if report.need is not None:
            with contextlib.suppress(errors.BrokerError):  # no room for long: the device asks again
                push.send(self._means.transport, report.need)
            entry.sent_bytes = push.sent_bytes
        if report.state is updates.State.INSTALLED and self._observes:
            entry.state, self._since_s = State.OBSERVED, now_s
        elif report.state is updates.State.INSTALLED:
            self._end(State.INSTALLED, report.reason)
        elif report.state is updates.State.REFUSED and report.reason == updates.ON_PROBATION:
            self.put_off()
        elif report.state.is_final:
            self._end(State.FAILED, report.reason)

    def put_off(self) -> None:
        """The device is away, or tries another model: it is taken again when it can be."""
        self.entry.state, self.entry.phase = State.WAITING, 0

    def _is_silent(self, now_s: float) -> bool:
        if self.entry.said is not None or not is_online(self._means.transport):
            self._heard_s = now_s
        return now_s - self._heard_s >= _SILENT * self._plan.terms.wait_s

    def _is_observed(self, now_s: float) -> bool:
        return self._observed.suffices(self._plan.terms) or now_s - self._since_s >= self._plan.terms.soak_s

    def _end(self, state: State, reason: str | None) -> None:
        self.entry.state, self.entry.reason, self.entry.ended_s = state, reason, self._means.clock_s()


def is_online(transport: Transport) -> bool:
    return transport.state is ConnectionState.ONLINE
