"""What only the machine with the inputs does: it reads them, watches the others, and has placements decided."""

import logging
import time
from collections.abc import Callable, Mapping

from broker.messages import presence, topics
from broker.messages.peers import standing
from broker.messages.peers.epochs import Epoch
from broker.messages.peers.parcels import Stamp
from broker.messages.topics import Kind, Topic
from broker.transport.protocol import ConnectionState, Message, Transport
from edge_runtime.delivery import framing
from edge_runtime.peers.coordinator import Change, Coordinator, Phase
from edge_runtime.peers.feed import Feed
from edge_runtime.peers.members import Members
from edge_runtime.peers.replanning import Replanner
from edge_runtime.peers.settings import Settings
from edge_runtime.peers.shares import Shares
from edge_runtime.peers.summary import Summary
from edge_runtime.sources.frames import Source
from tflsplit.graph import kinds
from tflsplit.graph.tensors import Array
from tflsplit.kernels.classes import KernelClass

log = logging.getLogger(__name__)


class SourceMachine:
    """`notify` is called when the thread that computes has something new to look at. SettingsError where a mask is
    wanted of a model that has none."""

    def __init__(
        self,
        shares: Shares,
        transport: Transport,
        settings: Settings,
        source: Source,
        *,
        summary: Summary,
        kernel_class: KernelClass | None,
        notify: Callable[[], None],
    ) -> None:
        framing.check_mask(shares.shared.package, is_wanted=settings.wants_mask)
        self._transport = transport
        self._settings = settings
        self._machines = shares.shared.plan.machines
        self._notify = notify
        self._members = Members(
            self._machines,
            shares.shared.digest,
            kinds.of_graph(shares.shared.package.graph),
            kernel_class,
            lost_after_s=settings.lost_after_s,
            allows_inexact=settings.allows_inexact,
        )
        planner = Replanner(shares, threads=settings.threads) if settings.replans else None
        self._coordinator = Coordinator(
            shares, self._members, settings, self._announce, planner=planner, now_s=time.monotonic()
        )
        self.feed = Feed(source, settings, summary, self._coordinator.window)
        self.feed.on_change = notify
        source.drop = summary.drop

    @property
    def window(self) -> int:
        return self._coordinator.window

    @property
    def changes(self) -> Mapping[Change, int]:
        """How many placements came into force for each of these reasons."""
        return self._coordinator.changes

    def problems(self) -> Mapping[str, str | None]:
        """Why each machine may not take part now; None where it may."""
        now_s = time.monotonic()
        return {name: self._members.problem(name, now_s) for name in self._machines}

    def speeds(self) -> Mapping[str, float | None]:
        """How many times as quick as stated each machine was found to be, of late."""
        return {name: self._members.speed(name) for name in self._machines}

    def listen(self) -> None:
        deployment, name = self._settings.deployment, self._settings.name
        for machine in self._machines:
            self._transport.subscribe(topics.topic(deployment, machine, Kind.SHARE))
            if machine != name:
                self._transport.subscribe(topics.topic(deployment, machine, Kind.STATUS))

    def take(self, topic: Topic, message: Message) -> None:
        """A message on one of these topics. FrameError for what is not ours."""
        match topic.kind:
            case Kind.SHARE if not message.retained:  # else it may be of one long gone
                self._members.heard(topic.device, standing.parse(message.payload), time.monotonic())
            case Kind.STATUS if message.payload:
                self._members.told(topic.device, presence.parse(message.payload))
            case _:
                pass

    def answered(self, stamp: Stamp) -> None:
        """The sink says that the frame's result was delivered; of whichever epoch that is."""
        if stamp.run == self._settings.boot:
            self.feed.settle(stamp.sequence)

    def tend(self) -> None:
        """To be called some times a second. PeerError where a machine that is needed may not take part."""
        now_s = time.monotonic()
        if self._transport.state is not ConnectionState.ONLINE:
            self._members.deaf(now_s)
            return
        before = self._coordinator.phase
        self._coordinator.tick(now_s, self.feed.moved_at_s if self.feed.outstanding else None)
        if self._coordinator.phase is not before:
            self._notify()

    def next(self, key: tuple[int, int]) -> tuple[Stamp, tuple[Array, ...]] | None:
        """The next input for the placement of that run and epoch, if all machines are ready for it."""
        coordinator = self._coordinator
        if coordinator.phase is not Phase.RUNNING or coordinator.epoch is None or coordinator.epoch.key != key:
            return None
        return self.feed.next(*key)

    def is_done(self, *, is_stopping: bool) -> bool:
        """Whether all inputs are answered; or one that was stopped has waited long enough for that, or waited for
        machines still, so that none was begun."""
        if self.feed.is_over:
            return True
        waited_s = time.monotonic() - self.feed.moved_at_s
        is_enough = self._coordinator.phase is Phase.GATHERING or waited_s > self._settings.drain_s
        return is_stopping and self.feed.has_ended and is_enough

    def over(self) -> None:
        """Tells the others that there are no more frames."""
        self._coordinator.over()
        topic = topics.topic(self._settings.deployment, self._settings.name, Kind.EPOCH)
        self._transport.try_publish(topic, b"", qos=1, retain=True)

    def _announce(self, epoch: Epoch) -> None:
        topic = topics.topic(self._settings.deployment, self._settings.name, Kind.EPOCH)
        self._transport.publish(topic, epoch.as_json(), qos=1, retain=not epoch.over, timeout_s=self._settings.drain_s)
