"""Updates a device: takes offers, downloads and tests the model, exchanges it, and watches its first frames.

It has a thread and a connection to the broker of its own, so that pieces of models never delay results. Everything that
a message can do to a device is in this file: nothing in an offer is read before its signature is checked, and no
message names a file, a library or a command.
"""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from broker.messages import topics, updates
from broker.messages.updates import Need, Offer, Piece, Report, Signed, State
from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.delivery.observer import OwnAnswer, Settled
from edge_runtime.head import Head
from edge_runtime.updates import http_download, self_test
from edge_runtime.updates.download import Download
from edge_runtime.updates.mqtt_download import STALLED_S, MqttDownload
from edge_runtime.updates.probation import DEFAULT_TERMS, Probation, Terms
from edge_runtime.updates.reporter import Described, Reporter
from edge_runtime.updates.store import Installed, Store, name_of
from edge_runtime.updates.swap import Exchanging, Swap
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.package.signing import Verifier
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_SUBSCRIBE_S = 60.0
# The connection and the self-test end at once; an accelerator that is just being opened may take a minute.
_END_S = 5.0


class Updated(Exchanging, Described, Protocol):
    """The part of `edge_runtime.loop.Edge` that is used here."""

    @property
    def outstanding(self) -> int: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Accepted are offers for this device that `verifier` finds signed, with URLs below `url_prefix`. After `stalled_s`
    without a piece the device asks again."""

    deployment: str
    device: str
    verifier: Verifier
    url_prefix: str | None = None
    terms: Terms = DEFAULT_TERMS
    stalled_s: float = STALLED_S


class Updater:
    """An `edge_runtime.delivery.observer.Observer` of the edge that it updates. `original` is the model that the edge
    was started with, to which the first update is rolled back.

    `ignored` counts messages on `control` that are damaged, not about updates, or pieces that nobody asked for.
    """

    def __init__(self, store: Store, settings: Settings, original: tuple[Package, Cut]) -> None:
        self.ignored = 0
        self._store = store
        self._settings = settings
        self._original = original
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_online: Callable[[], bool] = lambda: False
        self._signed: Signed | None = None
        self._download: Download | None = None
        self._mqtt_download: MqttDownload | None = None
        self._probation: Probation | None = None

    def alive(self) -> None:
        """Probation counts answers only."""

    def settled(self, settled: Settled) -> None:
        if (probation := self._probation) is not None:
            probation.settled(settled)

    def answered(self, own: OwnAnswer) -> None:
        """No sign that clouds serve the new model."""

    def start(self, edge: Updated, swap: Swap, running: Installed | None, connect: Callable[[], Transport]) -> None:
        """`running` is the model of the store that the edge started with, None for the original; `connect` makes a
        transport for the updater alone, which `close` closes."""
        self._edge = edge
        self._swap = swap
        settings = self._settings
        self._reporter = Reporter(edge, topics.topic(settings.deployment, settings.device, topics.Kind.TELEMETRY))
        if running is not None and self._store.record.on_probation == running.name:
            self._watch(running)
        self._tell()
        self._thread = threading.Thread(target=self._run, args=(connect,), name="edge-updates", daemon=True)
        self._thread.start()

    def rescue(self, failure: errors.DeviceError) -> tuple[Package, Head] | None:
        """An `edge_runtime.loop.Rescue`: if a head on probation fails, the old head computes the current frame, and
        `_look` rolls back afterwards."""
        probation = self._probation
        model = self._swap.fall_back() if probation is not None else None
        if probation is not None and model is not None:
            probation.failed(f"its head failed: {failure}")
        return None if model is None else (model.package, model.head)

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_END_S)
        if self.ignored:
            log.warning("control messages ignored count=%d", self.ignored)

    def _run(self, connect: Callable[[], Transport]) -> None:
        try:
            with contextlib.closing(connect()) as transport:
                self._serve_messages(transport)
        except Exception as problem:
            if not self._stopping.is_set():
                log.exception("updates ended until the next start")
                self._edge.describe("update", {"state": "off", "reason": str(problem)})

    def _serve_messages(self, transport: Transport) -> None:
        settings = self._settings
        transport.subscribe(
            topics.topic(settings.deployment, settings.device, topics.Kind.CONTROL), timeout_s=_SUBSCRIBE_S
        )
        self._is_online = lambda: transport.state is ConnectionState.ONLINE
        self._reporter.connect(transport)
        self._tell()  # an operator may wait for the outcome of an offer that we took before a restart
        while not self._stopping.is_set():
            message = transport.receive(_LOOK_S)
            if message is not None:
                self._take(message.payload)
                transport.acknowledge(message)
            elif transport.state is ConnectionState.CLOSED:
                raise errors.BrokerError("the broker refused the connection for updates")
            self._look(time.monotonic())

    def _take(self, payload: bytes) -> None:
        try:
            said = updates.parse_control(payload)
        except errors.FrameError as problem:
            self.ignored += 1
            log.debug("control message ignored reason=%s", problem)
            return
        if isinstance(said, Signed):
            self._take_offer(said)
        elif isinstance(said, Piece) and self._mqtt_download is not None:
            self._guarded(functools.partial(self._take_piece, self._mqtt_download, said))
        else:
            self.ignored += 1

    def _take_offer(self, signed: Signed) -> None:
        record = self._store.record
        is_known = signed.id == record.offer and (record.state.is_final or self._probation is not None)
        if is_known or (self._signed is not None and signed.id == self._signed.id):
            self._say_again()
            return
        try:
            offer = self._judged(signed)
        except errors.TflsplitError as refusal:
            log.warning("update refused offer=%s reason=%s", signed.id, refusal)
            self._reporter.answer(Report(signed.id, State.REFUSED, reason=str(refusal)))
            return
        self._guarded(functools.partial(self._begin, signed, offer))

    def _say_again(self) -> None:
        """The operator came back, or missed our last report."""
        if self._mqtt_download is not None:
            self._mqtt_download.again(time.monotonic())
        else:
            self._tell()

    def _judged(self, signed: Signed) -> Offer:
        """The offer, after all checks; errors name the check that failed."""
        settings, record = self._settings, self._store.record
        if not settings.verifier.has_signed(signed.text, signed.signature):
            raise errors.FrameError("it is not signed with the key that this device was set up with")
        offer = signed.offer()
        if (offer.deployment, offer.device) != (settings.deployment, settings.device):
            raise errors.FrameError(f"it was made for {offer.device} of {offer.deployment}")
        if offer.serial < record.serial or (offer.serial == record.serial and signed.id != record.offer):
            raise errors.FrameError(f"its serial {offer.serial} is no later than that of the last one, {record.serial}")
        if self._probation is not None:
            raise errors.FrameError(updates.ON_PROBATION)
        if offer.url is not None:
            http_download.check_allowed(offer.url, settings.url_prefix)
        return offer

    def _begin(self, signed: Signed, offer: Offer) -> None:
        store = self._store
        self._leave()
        log.info("update begins offer=%s package=%s name=%r cut=%r", signed.id, offer.package, offer.name, offer.cut)
        store.note(serial=offer.serial, offer=signed.id, package=offer.package, state=State.RECEIVING, reason=None)
        if store.current() == name_of(offer):
            self._end(State.INSTALLED, "it was installed already")
            return
        self._signed = signed
        if store.has(offer):
            self._serve(offer, store.path / name_of(offer) / "package")
            return
        self._download = Download(store.path / "incoming", offer, store.held())
        self._tell(State.RECEIVING, percent=self._download.percent)
        if offer.url is None:
            self._mqtt_download = MqttDownload(
                self._download, self._need, time.monotonic(), stalled_s=self._settings.stalled_s
            )
        else:
            http_download.fetch(self._download, offer.url, self._fetched)
        self._finish_if_whole()

    def _need(self, need: Need) -> None:
        if self._download is not None:
            self._tell(State.RECEIVING, percent=self._download.percent, need=need)

    def _fetched(self) -> bool:
        if self._download is not None:
            self._reporter.tell_now_and_then(self._store.record, State.RECEIVING, percent=self._download.percent)
        return not self._stopping.is_set()

    def _take_piece(self, mqtt_download: MqttDownload, piece: Piece) -> None:
        before = mqtt_download.ignored
        mqtt_download.take(piece, time.monotonic())
        self.ignored += mqtt_download.ignored - before
        self._finish_if_whole()

    def _finish_if_whole(self) -> None:
        download, signed = self._download, self._signed
        if download is not None and signed is not None and download.lack is None:
            self._mqtt_download = None
            self._serve(signed.offer(), download.finish(), signed)

    def _serve(self, offer: Offer, folder: Path, signed: Signed | None = None) -> None:
        """Tests the model in `folder` and makes it serve; with `signed` it is moved into the store first."""
        self._tell(State.TESTING)
        shown = self_test.run_apart(folder, offer.cut, is_stopping=self._stopping.is_set)
        if signed is not None:
            self._store.add(signed, folder)
        found = self._store.open(name_of(offer))
        new, shown_there = self._swap.prepare(found.package, found.package.cut(offer.cut))
        log.info("self-test passed offer=%s shown='%s%s'", self._store.record.offer, shown, shown_there)
        self._store.put_on_probation(found)
        self._watch(found)
        try:
            self._swap.serve(new)
        except errors.TflsplitError:
            self._probation = None
            raise
        self._leave()
        self._tell()

    def _watch(self, found: Installed) -> None:
        terms = self._settings.terms
        cut = None if self._swap.moves else found.offer.cut
        self._probation = Probation(found.package.digest, cut, terms, time.monotonic())

    def _look(self, now_s: float) -> None:
        is_online = self._is_online()
        if self._mqtt_download is not None:
            self._mqtt_download.look(now_s, is_online=is_online)
            if self._mqtt_download.is_over:
                self._end(State.IDLE, "nothing came any more; what is here is kept for the next push")
        if (probation := self._probation) is None:
            return
        probation.look(now_s, is_waiting=is_online and self._edge.outstanding > 0)
        if probation.problem is not None:
            self._roll_back(probation.problem)
        elif probation.is_passed and self._swap.keep():
            self._probation = None
            self._store.keep()
            log.info("update installed offer=%s", self._store.record.offer)
            self._tell()

    def _guarded(self, step: Callable[[], None]) -> None:
        """If the step fails, the previous model goes on serving and the reason is reported."""
        try:
            step()
        except errors.TflsplitError as problem:
            if self._stopping.is_set():
                return  # the download goes on after the next start
            if self._download is not None and not isinstance(problem, errors.PeerError):
                self._download.abandon()  # what came is kept only if a server or a link failed
            self._leave()
            self._roll_back(str(problem))

    def _roll_back(self, reason: str) -> None:
        """Changes the disk first: whenever this process ends, the next one starts with the previous model."""
        is_serving, self._probation = self._probation is not None, None
        self._store.roll_back(reason)
        try:
            if is_serving:
                self._swap.go_back(self._before)
        except errors.TflsplitError as problem:
            log.error("the edge ends: the previous model cannot be opened beside the new one reason=%s", problem)
            self._edge.stop()
        self._tell()

    def _before(self) -> tuple[Package, Cut]:
        found = self._store.opened()
        return self._original if found is None else (found.package, found.package.cut(found.offer.cut))

    def _end(self, state: State, reason: str) -> None:
        self._leave()
        self._store.note(state=state, reason=reason)
        self._tell()

    def _leave(self) -> None:
        self._signed = self._download = self._mqtt_download = None

    def _tell(self, state: State | None = None, *, percent: int | None = None, need: Need | None = None) -> None:
        record = self._store.record
        self._reporter.tell(record, state or record.state, percent=percent, need=need, ignored=self.ignored)
