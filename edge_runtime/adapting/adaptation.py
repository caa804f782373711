"""Feeds the controller from live traffic, and gives the edge the head that it picks for the next frame.

The link's time of a frame is what passed from its sending to its answer, less what the answer says that the cloud took:
no two clocks are compared. A cut is used once the clouds say that its tail is open, so none ever waits for that.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from broker.messages import results, topics
from broker.transport.protocol import ConnectionState, Message, Transport
from edge_runtime.adapting import siblings
from edge_runtime.adapting.candidates import Candidate
from edge_runtime.adapting.device_heads import DeviceHeads, Reloads
from edge_runtime.adapting.in_flight import InFlight
from edge_runtime.adapting.lineups import Lineups
from edge_runtime.adapting.link_probes import LinkProbes
from edge_runtime.adapting.open_tails import OpenTails
from edge_runtime.adapting.siblings import Siblings
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.delivery.clouds import Clouds
from edge_runtime.delivery.framing import Packed, Sending
from edge_runtime.delivery.observer import OwnAnswer, Settled
from edge_runtime.delivery.settings import Settings, Until
from edge_runtime.delivery.window import Key
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.package.reading import Package
from tflsplit.planning import network
from tflsplit.switching.choices import Present
from tflsplit.switching.controller import Controller, Switch
from tflsplit.switching.policy import Answer
from tflsplit.values.classes import replace

log = logging.getLogger(__name__)

# A cut whose frame a cloud refused is tried again after that.
_AGAIN_S = 30.0


# Whether frames of a package may go through that head, and lose what is said on their way.
Allows = Callable[[Package, Head, str], bool]


def check(*, until: Until) -> None:
    """SettingsError where answers would not say what the cloud took."""
    if until is Until.ACK:
        raise errors.SettingsError(
            "an acknowledgement does not say what the cloud took, by which the cut moves: adapt until the result"
        )


class Adaptation:
    """An observer of its edge, whose compute thread calls `pick` and `sent`, and whose results thread the rest."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        controller: Controller,
        start: str,
        device: DeviceHeads | None = None,
        *,
        kind: bytes | None = None,
        on_device: OnDevice | None = None,
        lineups: Lineups | None = None,
    ) -> None:
        """`kind` is that of `siblings.kind_of`; without it the device neither asks nor tells others. `on_device` goes
        on behind the head that was picked, for a hedge or a gate; with a gate the controller chooses among the cuts at
        which a cloud may be asked, by costs that hold the whole model. `lineups` opened the candidates, and may open
        those of other packages; without them the package stays."""
        self.switches: Counter[str] = Counter()  # by reason
        self.not_ready = 0
        self.siblings: Siblings | None = None
        self.lineups = lineups
        self._kind = kind
        self._device = device
        self._by_id = {each.choice.id: each for each in candidates}
        self._controller = controller
        self._start = start
        self._now = self._by_id[start]
        self._local = next((each for each in candidates if each.choice.is_local), None)
        self.on_device = on_device
        self._transport: Transport | None = None
        self._clouds = Clouds()
        self._allows: Allows = lambda package, head, loss: True
        self._tails = self._open_tails()
        self._is_answered = False
        self._without_pixels = False
        self._batch = 1
        self._refused_until_s: dict[str, float] = {}
        self._in_flight = InFlight(controller)
        self._guard = threading.Lock()  # the candidates, the controller and what is out

    @property
    def _cuts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.choice.cut for each in self._by_id.values()))

    @property
    def wants_pixels(self) -> bool:
        """Whether pictures may travel as they are: then the source gives pixels, and the edge preprocesses the rest."""
        return any(each.sending.pixels for each in self._by_id.values())

    def begin(self, *, gives_pixels: bool) -> None:
        """What the source gives. SettingsError where the plan's own cut sends pixels, and there are none."""
        if gives_pixels or not self.wants_pixels:
            return
        if self._by_id[self._start].sending.pixels is not None:
            raise errors.SettingsError(f"the plan sends pixels ({self._start}), and the source gives none")
        self._without_pixels = True
        lacking = [choice_id for choice_id, each in self._by_id.items() if each.sending.pixels]
        log.warning("cuts not used cuts=%s reason=the source gives no pixels", ",".join(lacking))

    @property
    def first(self) -> Head:
        """What an edge begins with."""
        return self._head_in_use(self._by_id[self._start])

    @property
    def probes(self) -> LinkProbes | None:
        return self._in_flight.probes

    @property
    def last_switch(self) -> Switch | None:
        return self._controller.switches[-1] if self._controller.switches else None

    @property
    def reloads(self) -> Reloads:
        """What an accelerator loaded."""
        return self._device.reloads if self._device else Reloads()

    @property
    def present(self) -> Present:
        """What a frame would meet now, as far as it is known."""
        with self._guard:
            return self._controller.estimates.present(time.monotonic())

    def attach(self, transport: Transport, settings: Settings, clouds: Clouds, allows: Allows) -> None:
        """Before the edge runs. SettingsError where answers would not say what the cloud took."""
        check(until=settings.until)
        self._transport, self._clouds, self._allows = transport, clouds, allows
        self._in_flight.clear()
        self._tails = self._open_tails()
        self._batch = settings.batch
        self._in_flight.max_age_s = settings.max_age_s if settings.is_latest else math.inf
        name, probing = (settings.deployment, settings.device), self._controller.probing
        self.answers = topics.topic(*name, topics.Kind.CONTROL)
        if probing is not None:
            self._in_flight.probes = LinkProbes(transport, *name, probing, lambda: clouds.allow_probes)
        if self._kind is not None:
            self.siblings = Siblings(
                transport, *name, self._kind, may_tell=lambda: probing is not None and clouds.allow_probes
            )

    @property
    def heads(self) -> list[tuple[Head, str]]:
        """Those that are open, each with what its frames lose on their way."""
        return [(each.head, each.sending.loss) for each in list(self._by_id.values()) if each.head is not None]

    @property
    def is_online(self) -> bool:
        return self._transport is not None and self._transport.state is ConnectionState.ONLINE

    @property
    def may_answer(self) -> bool:
        """Whether the device may answer frames itself, by a cut that computes all."""
        return self._local is not None

    def keeps(self, packed: Packed) -> bool:
        """Whether nobody is told of that frame though there is somebody."""
        return False

    @property
    def overdue_s(self) -> float | None:
        """How long after it was taken the frame of the last pick is to be answered here too, if it has no answer."""
        if self._now is self._local:
            return None
        with self._guard:
            return self._controller.hedge_after_s(self._now.choice)

    def pick(self) -> tuple[Sending, Head]:
        """For the next frame."""
        now_s = time.monotonic()
        with self._guard:
            self._look_at_clouds(now_s)
            self._controller.is_online = self.is_online
            if self.siblings is not None and self.is_online and not self._controller.estimates.is_link_measured:
                self.siblings.ask(now_s)
            self._controller.pending(self._in_flight.oldest(now_s, is_online=self.is_online))
            chosen = self._by_id[self._controller.pick(now_s).id]
        if chosen is not self._now and self._can_take(chosen):
            self._now = chosen
            self._say()
        return self._now.sending, self._head_in_use(self._now)

    def may_follow(self, head: Head) -> bool:
        """Whether all candidates of a package were opened with that head."""
        return self.lineups is not None and self.lineups.of(head) is not None

    def follow(self, head: Head) -> tuple[Sending, Head]:
        """On the compute thread: the next frames go through the candidates that were opened with that head. Returns
        what goes on; what is out of the package before still teaches."""
        lineup = None if self.lineups is None else self.lineups.of(head)
        assert lineup is not None, "an exchange is refused for any other head"  # noqa: S101 - by `loop.Edge.exchange`
        with self._guard:
            self._by_id = {each.choice.id: each for each in lineup.candidates}
            self._now = self._by_id[self._controller.now.id]
            self._local = next((each for each in lineup.candidates if each.choice.is_local), None)
            self.on_device = lineup.on_device
            self._refused_until_s.clear()
            self._is_answered = False
            self._tails = self._open_tails()
            self._tails.online(time.monotonic())
        return self._now.sending, self._head_in_use(self._now)

    def _can_take(self, chosen: Candidate) -> bool:
        """Whether its head is open; a device is told to load it."""
        if chosen.head is not None or self._device is None:
            return True
        try:
            return self._device.take(chosen.choice.cut) is not None
        except errors.CutError as refused:
            with self._guard:
                self._leave_out(chosen.choice.cut, time.monotonic() + _AGAIN_S, f"its head does not open: {refused}")
            return False

    def _head_in_use(self, candidate: Candidate) -> Head:
        if candidate.head is not None:
            return candidate.head
        if self._device is None:
            raise errors.SettingsError(f"cut {candidate.choice.id} has no head, and there is no device for it")
        return self._device.in_use(candidate.choice.cut)

    def sent(self, packed: Packed, edge_s: float) -> None:
        """A frame of the last pick leaves, or stays; `edge_s` is all that the device worked on it."""
        stays = self._local is not None and packed.cut == self._local.choice.cut
        choice, now_s = (self._local if self._local is not None and stays else self._now).choice, time.monotonic()
        bits = 0.0 if choice.is_local else network.wire_bytes(len(packed.encoded)) * 8
        with self._guard:
            if choice.is_local:
                self._controller.learn(now_s, Answer(choice, now_s, 0.0, edge_s, None))
            else:
                self._in_flight.add(packed.key, choice, now_s, bits, edge_s, share=packed.inputs / self._batch)

    def alive(self) -> None: ...

    def answered(self, own: OwnAnswer) -> None: ...

    def settled(self, settled: Settled) -> None:
        now_s = time.monotonic()
        with self._guard:
            of_several = settled.answer.first if isinstance(settled.answer, results.Result) else None
            sent = self._in_flight.take((settled.boot, settled.sequence if of_several is None else of_several))
            if isinstance(settled.answer, results.Refusal):
                if settled.answer.is_of_package and self._now.sending.package.digest.startswith(settled.package):
                    self._leave_out(settled.cut, now_s + _AGAIN_S, "a cloud has no tail of it")
            elif sent is not None and isinstance(settled.answer, results.Result):
                self._is_answered = True
                learnt = self._in_flight.answer(sent, settled.away_s, settled.answer.times, now_s)
                # Of one that was sent again nobody knows which sending was answered.
                self._controller.learn(now_s, learnt if settled.sendings == 1 else replace(learnt, link_s=None))

    def dropped(self, key: Key) -> None:
        """A frame that was not sent after all."""
        with self._guard:
            self._in_flight.take(key)

    def given_up(self, keys: Sequence[Key]) -> None:
        """Frames that a spool dropped."""
        with self._guard:
            self._in_flight.give_up(keys)

    def refused(self, packed: Packed) -> None:
        """A frame that a spool holds until a cloud serves it: its way says nothing of the link, nor of the server."""
        now_s = time.monotonic()
        with self._guard:
            self._in_flight.take(packed.key)
            is_new = self._refused_until_s.get(packed.cut, -math.inf) <= now_s
            if is_new and self._now.sending.package.digest.startswith(packed.package):
                self._leave_out(packed.cut, now_s + _AGAIN_S, "a cloud has no tail of it")

    def take(self, message: Message) -> bool:
        """Whether it was an answer to one of our questions."""
        if message.topic != self.answers:
            return False
        now_s = time.monotonic()
        told = self.siblings.take(message.payload) if self.siblings else None
        with self._guard:
            learnt = self.probes.take(message.payload, now_s) if self.probes else None
            if learnt is not None:
                self._controller.learn(now_s, learnt)
            if told is not None:
                self._controller.estimates.begin(now_s - told.age_s, siblings.present_of(told))
        if told is not None:
            log.info("starts from what its kind measured devices=%d age_s=%.0f", told.devices, told.age_s)
        return True

    def tend(self, now_s: float) -> None:
        if self.is_online:
            self._tails.online(now_s)
            if self.siblings is not None and (known := self._measured(now_s)) is not None:
                self.siblings.tell(now_s, known)
        self._tails.tell(now_s, is_answered=self._is_answered)
        with self._guard:
            self._in_flight.tend(now_s, is_online=self.is_online)

    def _measured(self, now_s: float) -> Present | None:
        with self._guard:
            estimates = self._controller.estimates
            return estimates.known(now_s) if estimates.is_link_measured else None

    def as_json(self) -> dict[str, object]:
        """For the birth: what only a switch changes; `seen` is what a frame would have met then."""
        last = self.last_switch
        return {
            "candidates": list(self._cuts),
            "bits": {each.choice.id: each.choice.bits for each in self._by_id.values() if each.choice.bits},
            "siblings": self.siblings.devices if self.siblings else 0,
            "switches": self.switches.total(),
            "not_used": self._tails.missing,
            "last_switch": last and {"before": last.before, "after": last.after, "reason": last.reason},
            "seen": self._controller.seen_at_switch.as_json(),
        }

    def _open_tails(self) -> OpenTails:
        """The cut that the plan names is served as it always was, and what is local needs nobody."""
        listed = [each.choice for each in self._by_id.values()]
        always = {each.cut for each in listed if each.id == self._start or each.is_local}
        return OpenTails(self._clouds, self._now.sending.package.digest, self._cuts, frozenset(always))

    def _look_at_clouds(self, now_s: float) -> None:
        ready = self._tails.look(now_s)
        if ready is not None:
            package = self._now.sending.package
            self._controller.forbid(
                frozenset(
                    choice_id
                    for choice_id, each in self._by_id.items()
                    if each.head is not None and not self._allows(package, each.head, each.sending.loss)
                )
            )
        for choice_id, each in self._by_id.items() if ready is not None else ():
            is_read = each.choice.bits is None or choice_id == self._start or self._tails.read(each.sending.coder.id)
            is_read = is_read and not (self._without_pixels and each.sending.pixels)
            is_ready = is_read and each.choice.cut in (ready or ())
            self._controller.leave_out(
                choice_id, self._refused_until_s.get(each.choice.cut, -math.inf) if is_ready else math.inf
            )

    def _leave_out(self, cut: str, until_s: float, reason: str) -> None:
        is_new = self._refused_until_s.get(cut, -math.inf) <= until_s - _AGAIN_S
        self._refused_until_s[cut] = until_s
        for choice_id, each in self._by_id.items():
            if each.choice.cut == cut:
                self._controller.leave_out(choice_id, until_s)
        if is_new:  # of the frames that were out with it each is refused
            self.not_ready += 1
            log.warning("cut not used cut=%s again_in_s=%g reason=%s", cut, _AGAIN_S, reason)

    def _say(self) -> None:
        switch = self.last_switch
        if switch is None:
            return
        self.switches[switch.reason] += 1
        present = self._controller.estimates.present(time.monotonic())
        log.info(
            "cut moved before=%s after=%s reason=%s link_bps=%.3g rtt_s=%.3g cloud_wait_s=%.3g",
            *(switch.before, switch.after, switch.reason, 1 / present.s_per_bit, present.rtt_s, present.cloud_wait_s),
        )
