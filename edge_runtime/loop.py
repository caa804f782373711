"""The edge loop: take an input, run the head, send the frame, and keep it until its answer is back.

The caller's thread computes. A second thread receives answers and sends unanswered frames again, unless frames follow
one another too soon for that (`edge_runtime.incoming`). With a spool a third thread sends frames, and if only the
newest input counts, another one reads inputs. Nothing here knows MQTT.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from broker.messages import topics
from broker.transport.protocol import ConnectionState, Message, Transport
from edge_runtime.accelerators.service import Condition
from edge_runtime.announcing import Announcing
from edge_runtime.answering.answers import Answers
from edge_runtime.delivery import framing, routes
from edge_runtime.delivery.clouds import Clouds
from edge_runtime.delivery.collector import Collector
from edge_runtime.delivery.observer import Observer
from edge_runtime.delivery.publisher import Publisher
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.settings import Settings
from edge_runtime.delivery.summary import Summary
from edge_runtime.delivery.window import Window
from edge_runtime.exactness import Exactness
from edge_runtime.exchange import HeadInUse
from edge_runtime.head import Head
from edge_runtime.incoming import Incoming
from edge_runtime.sources import intake
from edge_runtime.sources.captured import Capture, Gathering, rows
from edge_runtime.sources.frames import Source
from edge_runtime.stream import Stream
from tflsplit import arguments, errors, text
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.kernels.heads import HeadKernels
from tflsplit.package.reading import Package

if TYPE_CHECKING:
    from edge_runtime.adapting.adaptation import Adaptation
    from edge_runtime.answering.gate import Gate
    from edge_runtime.answering.on_device import OnDevice
    from edge_runtime.delivery.durable.spool import Spool

log = logging.getLogger(__name__)

# How often the threads look whether they were told to stop; no frame waits for it.
_LOOK_S = 0.2
# How long a stop waits for answers to frames that are on disk anyway.
_GRACE_S = 2.0
_ANNOUNCED = f"/{topics.Kind.SERVES.value}"


# The package and head that replace a head that failed on a frame, as in `Edge.exchange`; None ends the edge.
Rescue = Callable[[errors.DeviceError], tuple[Package, Head] | None]


class Edge:
    """One device's stream through one head. `run` may be called once; `stop` from anywhere ends it in good order.

    `rescue` is asked on the compute thread when a head fails. With an `adaptation`, whose first head is `head`, each
    frame goes through the head that this picks. `on_device` says what the device computes behind its head; by default
    that of the adaptation.
    """

    _turn: Callable[[], AbstractContextManager[object]] = staticmethod(threading.Lock)  # for which nobody else waits

    def __init__(
        self,
        package: Package,
        head: Head,
        transport: Transport,
        settings: Settings,
        *,
        spool: "Spool | None" = None,
        observers: Sequence[Observer] = (),
        rescue: Rescue = lambda failure: None,
        adaptation: "Adaptation | None" = None,
        on_device: "OnDevice | None" = None,
    ) -> None:
        arguments.instance(package, Package, "package")
        arguments.instance(head, Head, "head")
        arguments.instance(settings, Settings, "settings")
        arguments.provides(transport, "receive", "transport")
        self.spool = spool
        self.adaptation = adaptation
        self.summary = Summary(accelerator=head.counters)
        self._transport = transport
        self._run = Run(transport, settings, self.summary, tuple(observers), Window(settings.window), Clouds(), spool)
        self._stream = Stream(package, self._run, adapts=adaptation is not None)
        self._run.observers = (self._stream, *observers, *([adaptation] if adaptation else []))
        self._rescue = rescue
        framing.check_batch(package, head.cut, settings.batch)
        self._in_use = HeadInUse(package, head, settings, self._changed, self._stream.check)
        self.exactness = Exactness(settings.exact, self._run.clouds)
        publisher = Publisher(transport, settings, self.exactness.wait)
        self._names = publisher.names
        if adaptation is not None:
            adaptation.attach(transport, settings, self._run.clouds, self.exactness.allows)
            publisher.hears.append(adaptation.answers)
        self._route = routes.of(self._run, publisher, on_wait=self._between_frames, learner=adaptation)
        here = on_device or (adaptation.on_device if adaptation else None)
        moves_here = bool(adaptation and adaptation.may_answer)
        self._answers = Answers(self._run, here, self.exactness, moves_here=moves_here)
        own_ends_latency = self._answers.end_latencies
        self._collector = Collector(self._run, self._route, self._answers.settled, own_ends_latency=own_ends_latency)
        self._announcing = Announcing(self._run, self._in_use, self._answers, self.exactness, adaptation)
        # A spool has threads of its own, and what adapts learns from when an answer comes.
        may_share = not (spool or adaptation)
        self._incoming = Incoming(transport, self._take, self._tend, self._run.fail, may_share=may_share)

    @property
    def settings(self) -> Settings:
        return self._run.settings

    @property
    def package(self) -> Package:
        return self._in_use.sending.package

    @property
    def cut(self) -> Cut:
        return self._in_use.sending.cut

    @property
    def condition(self) -> Condition:
        """Where the head runs now."""
        return self._in_use.head.condition

    @property
    def kernels(self) -> HeadKernels:
        """What the head is computed with now."""
        return self._in_use.head.kernels

    @property
    def gate(self) -> "Gate | None":
        """What decides which answers stay on this device."""
        return None if self._answers.on_device is None else self._answers.on_device.gate

    @property
    def outstanding(self) -> int:
        """Frames that were sent and are not answered."""
        return len(self._run.window)

    @property
    def is_stopping(self) -> bool:
        return self._run.is_stopping

    def stop(self) -> None:
        """Take no further input, but wait for answers. Takes no lock: signal handlers may call it."""
        self._run.stop()
        self._in_use.head.interrupt()

    def reload(self, settings: Settings) -> None:
        """The settings from the next frame on; SettingsError names those that cannot change while the edge runs."""
        self._run.settings.check_may_become(settings)
        self._run.settings = settings
        self._run.window.resize(settings.window)

    def exchange(self, package: Package, head: Head) -> tuple[Package, Head]:
        """The next frames go through another head, perhaps of another package. Returns the old package and head, which
        the caller closes.

        Blocks until the current frame is done. SettingsError or DataError if the source does not fit the package, or
        the pair would not be exact where that is required.
        """
        mover = self.adaptation
        is_fixed = self._answers.on_device is not None if mover is None else not mover.may_follow(head)
        if is_fixed or self.gate is not None or self._run.settings.batch > 1:
            raise errors.SettingsError(
                "an edge that answers frames itself, moves its cut on an accelerator, or sends batches, keeps its "
                "package and its heads: restart it"
            )
        self.exactness.check(package, head)
        return self._in_use.exchange(package, head)

    def take_turns(self, turn: Callable[[], AbstractContextManager[object]]) -> None:
        """Each inference runs within `turn()`, which waits for it: several edges share this machine's processor."""
        self._turn = turn

    def describe(self, name: str, fields: Mapping[str, object] | None) -> None:
        """Adds an entry to the birth, which is published again within a tenth of a second."""
        self._announcing.describe(name, fields)

    def run(self, source: Source) -> Summary:
        """Stream the source until it ends, `count` is reached or `stop` is called; then wait for the last answers."""
        arguments.instance(source, Source, "source")
        sending = self._in_use.sending
        if self.adaptation is not None:
            self.adaptation.begin(gives_pixels=source.gives_pixels)
        elif source.gives_pixels != (sending.pixels is not None):
            given = "pixels" if source.gives_pixels else "inputs as the model stores them"
            raise errors.SettingsError(f"the source gives {given}: open it for input codec {sending.input_codec}")
        self._in_use.source = source
        source.drop = self.summary.drop
        self._route.open()
        self._answers.open()
        self._announcing.look()
        self._incoming.open()
        self._in_use.thread = threading.current_thread()
        try:
            self._process_all(source)
            self._wait_for_answers()
        except (errors.DataError, errors.DeviceError):  # a broken picture, or an unplugged camera
            self._wait_for_answers()
            raise
        finally:
            self._in_use.thread = None
            self._incoming.close()
            self._answers.close()
            self._route.close()
            self.summary.link = self._transport.counters
        if self._run.failure is not None:
            raise self._run.failure
        return self.summary

    def _process_all(self, source: Source) -> None:
        captures = intake.of(
            source,
            is_newest_only=self._run.settings.is_latest,
            repeats=self._run.settings.count is not None,
            rate_fps=lambda: self._run.settings.rate_fps,
            on_lost=self._lose,
        )
        sequence, batch = 0, Gathering(self._run.settings.batch, self._run.settings.batch_wait_s)
        try:
            while not (self.is_stopping or captures.is_over or self._is_enough(len(batch.inputs))):
                is_looking = self._incoming.look()
                room_s = 0.0 if is_looking else _LOOK_S
                if self._answers.is_alone(self._route) or self._route.wait_for_room(room_s):
                    batch.add(captures.take(min(_LOOK_S, batch.left_s)))
                    if batch.is_due or self._is_enough(len(batch.inputs)):
                        sequence += self._process(sequence, batch.take())
                elif is_looking:
                    self._incoming.wait()
                self._between_frames()
            if batch.inputs:
                self._process(sequence, batch.take())
        finally:
            captures.close()
            if batch.inputs:  # the source failed before the frame was made
                self.summary.drop("batch_unfilled", len(batch.inputs))

    def _is_enough(self, gathered: int) -> bool:
        return self._run.settings.count is not None and self.summary.inputs + gathered >= self._run.settings.count

    def _lose(self) -> None:
        self.summary.drop("replaced" if self._transport.state is ConnectionState.ONLINE else "offline")

    def _process(self, sequence: int, batch: Sequence[Capture]) -> int:
        """Makes the frame of these inputs, or several; returns the inputs' number."""
        began_s, is_alone, overdue_s = time.monotonic(), self._answers.is_alone(self._route), None
        if self.adaptation is not None:
            self._in_use.sending, self._in_use.head = self.adaptation.pick()
            overdue_s = self.adaptation.overdue_s
        started_s, boundary = self._run_head(sequence, batch)
        head_s, inputs, waited_s = time.monotonic() - started_s, len(batch), 0.0
        for course in self._answers.courses_of(self._in_use.sending, boundary, inputs, is_alone=is_alone):
            if course.places.start > 0 and not is_alone:
                waited_s += self._wait_for_room()
            key, follows = (self._run.settings.boot, sequence), self._stream.follows(sequence)
            about = {"head_s": head_s, "follows": follows, **self._run.settings.wishes}
            packed = course.pack(batch, key, self._in_use.sizes, **about)
            if self.adaptation is not None:
                self.adaptation.sent(packed, time.monotonic() - began_s - waited_s)
            overdue_at_s = None if overdue_s is None else began_s + overdue_s
            is_kept = is_alone or (self.adaptation is not None and self.adaptation.keeps(packed))
            if is_kept:
                self.summary.drop("offline", packed.inputs)
            if self._answers.leaves(course, packed, None if is_kept else self._route, overdue_at_s=overdue_at_s):
                self._stream.accepted(sequence)
            elif self.adaptation is not None:
                self.adaptation.dropped(packed.key)
        return inputs

    def _wait_for_room(self) -> float:
        """For another frame of the same inputs, unless the edge stops. Returns how long that took."""
        began_s = time.monotonic()
        while not (self._route.wait_for_room(_LOOK_S) or self.is_stopping):
            self._between_frames()
        return time.monotonic() - began_s

    def _run_head(self, sequence: int, batch: Sequence[Capture]) -> tuple[float, tuple[Array, ...]]:
        """The boundary, and when the head that gave it began."""
        while True:
            arrays = rows([self._in_use.inputs(each.raw) for each in batch])
            started_s = time.monotonic()
            try:
                with self._turn():
                    return started_s, self._stream.run(self._in_use.head, arrays)
            except errors.DeviceError as failure:
                rescued = self._rescue(failure)
                if rescued is None:
                    self.summary.drop("head_failed", len(batch))
                    log.error("frame lost sequence=%d reason=%s", sequence, failure)
                    raise
                self._in_use.take(*rescued)

    def _between_frames(self) -> None:
        for observer in self._run.observers:
            observer.alive()
        self._in_use.look()

    def _changed(self, package: Package, head: Head) -> None:
        self._stream.follow(package)
        if self.adaptation is not None:
            self._in_use.sending, self._in_use.head = self.adaptation.follow(head)
            self._answers.follow(self.adaptation.on_device)
        self.summary.accelerator = head.counters
        if self.is_stopping:
            head.interrupt()

    def _wait_for_answers(self) -> None:
        self._incoming.leave()
        began_s, is_said = time.monotonic(), self._say_what_is_waited_for()
        while self._run.failure is None and not self._route.wait_until_settled(_LOOK_S):
            is_said = is_said or self._say_what_is_waited_for()  # it may be stopped while it waits
            self._between_frames()
            now_s = time.monotonic()
            if self._route.is_stuck:
                return
            if now_s - max(began_s, self._collector.answered_at_s) >= self._run.settings.drain_s:
                return
            if self.spool is not None and self._run.stopped_at_s is not None:
                is_away = self._transport.state is not ConnectionState.ONLINE
                if is_away or now_s - self._run.stopped_at_s >= _GRACE_S:
                    return

    def _say_what_is_waited_for(self) -> bool:
        is_waiting = self.is_stopping and self.spool is None and self.outstanding > 0
        if is_waiting:
            words = "stopping: waiting up to %g s for %s, Ctrl-C again to give up"
            log.info(words, self._run.settings.drain_s, text.counted(self.outstanding, "answer"))
        return is_waiting

    def _tend(self, now_s: float) -> None:
        """Called by whoever sees to what comes, regularly."""
        self._collector.tend(now_s)
        self._route.tend(now_s)
        self._run.clouds.look(now_s, self._run.settings.deployment, waits=self._is_unheard)
        self._announcing.look()
        if self.adaptation is not None:
            self.adaptation.tend(now_s)

    @property
    def _is_unheard(self) -> bool:
        summary = self.summary
        tries = summary.frames + summary.replayed or self.exactness.is_awaited
        if not tries or self._transport.state is not ConnectionState.ONLINE:
            return False
        return not (summary.results or summary.refused or summary.duplicates or summary.refusal)

    def _take(self, message: Message) -> None:
        if message.topic == self._names.topic:
            if self._names.take(message):
                self._announcing.again()
        elif self.adaptation and self.adaptation.take(message):
            pass
        elif not message.topic.endswith(_ANNOUNCED):
            self._collector.take(message.payload)
        else:
            if self._run.clouds.take(message):
                self._route.cloud_came(time.monotonic())
                self._announcing.cloud_came()
            self._announcing.judge()
