"""The streams of one process, each an edge with its own name, source, model, spool and promises.

A thread runs each as `tflsplit edge` would run it alone. What fails in one is said and tried again, with growing waits;
the others go on. They share the accelerator, the port of metrics and health, and the service manager.
"""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.accelerators import choice
from edge_runtime.accelerators.coral import Coral
from edge_runtime.accelerators.delegate import Delegate
from edge_runtime.accelerators.owner import Owner
from edge_runtime.accelerators.turns import Share, Turns
from edge_runtime.service import credentials
from edge_runtime.service.notify import Notifier
from tflsplit import errors, text
from tflsplit.cli.options import planfile
from tflsplit.cli.options.connection import Broker
from tflsplit.cli.settings import command, edge_combinations
from tflsplit.cli.settings.checks import SECRETS
from tflsplit.cli.streams import beside
from tflsplit.cli.streams.surroundings import Surroundings
from tflsplit.observing.health import STARTING, Health
from tflsplit.observing.metrics import Family, Sample
from tflsplit.values.classes import dataclass, replace

if TYPE_CHECKING:
    from edge_runtime.loop import Edge
    from tflsplit.observing.exposition import Collect

log = logging.getLogger(__name__)

# The wait before a stream that failed begins again; one that ran for long begins with the first.
_FIRST_WAIT_S, _LONGEST_WAIT_S, _STABLE_S = 1.0, 60.0, 60.0


class Member(Surroundings):
    """What the stream `at` that place of the file has of its process. Its own thread runs it."""

    def __init__(self, box: "Box", at: int) -> None:
        self.at = at
        self.device = ""
        self.share = Share()
        self.failures = 0
        self.failure: errors.TflsplitError | None = None
        self.has_ended = False
        self.stop: Callable[[], None] = lambda: None
        self.reload: Callable[[], None] = lambda: None
        self.families: Collect = lambda: ()
        self.judge: Callable[[], Health] = lambda: STARTING
        self.words = "starting"
        self.is_ready = False
        self.begins_again = False
        self.alive_at_s = time.monotonic()
        self._box = box
        self._notifier = _MemberNotifier(box, self)

    @contextmanager
    def stopped_by_signals(self, stop: Callable[[], None]) -> Iterator[None]:
        self.stop = stop
        if self._box.is_stopping:
            stop()
        try:
            yield
        finally:
            self.stop = lambda: None

    @contextmanager
    def running(self, edge: "Edge") -> Iterator[None]:
        self.failure = None  # all that it needs is open again
        with super().running(edge):
            yield

    @contextmanager
    def reloaded_by_signal(self, reload: Callable[[], None]) -> Iterator[None]:
        self.reload = reload
        try:
            yield
        finally:
            self.reload = lambda: None

    def notifier(self) -> Notifier:
        return self._notifier

    @contextmanager
    def observed(self, address: str | None, families: "Collect", health: Callable[[], Health]) -> Iterator[None]:
        self.families, self.judge = families, health
        try:
            yield
        finally:
            self.families = lambda: ()

    def turn(self) -> AbstractContextManager[None]:
        self.share.weight = self.weight
        return self._box.turns.turn(self.share)

    def ended(self) -> None:
        self.has_ended = not self.begins_again

    def need_restart(self, keys: Sequence[str]) -> None:
        """This stream alone begins again; the others go on."""
        log.info("stream begins again device=%s changed=%s", self.device, ",".join(keys))
        self.begins_again, self.is_ready = True, False
        self.stop()

    def fit(self, given: dict[str, Any], count: int) -> None:
        """Its answers would be mixed with others' on the screen. SettingsError if it is not one of this process's
        streams, or of another one's name, and for options that it could never run with."""
        box = self._box
        if count != len(box.members):
            raise errors.SettingsError(
                f"the file has {text.counted(count, 'stream')} now, {len(box.members)} when this began: restart it"
            )
        self._check(given)
        for name in (key.replace("-", "_") for key in SECRETS):
            given[name] = given[name] and credentials.shown(given[name], box.folder)
        device = Broker((), given["credentials"]).name(given["device"])
        if any(other.device == device for other in box.members if other is not self):
            raise errors.SettingsError(beside.twice_named(device))
        given["accelerator_name"] = box.owners.shared(given["accelerator_name"], given["threads"], self.weight)
        box.metrics = box.metrics or given["metrics"]
        given["metrics"] = "0" if given["metrics"] else None
        given["prints"] = False
        self.device = device

    def _check(self, given: dict[str, Any]) -> None:
        plan = None
        if given["plan_path"]:
            try:
                plan = planfile.opened(given["pkg"], given["plan_path"])[1]
            except (errors.TflsplitError, click.UsageError):
                return  # it may come yet: the stream says so when it begins, and tries again
        try:
            edge_combinations.check(given, plan)
        except (errors.TflsplitError, click.UsageError) as refused:
            why = refused.message if isinstance(refused, click.UsageError) else str(refused)
            raise errors.SettingsError(f"stream {self.at + 1}: {why}; check its table") from refused

    def health(self) -> Health:
        if self.failure is not None:
            return Health(is_live=True, is_ready=False, why=str(self.failure), facts={"failures": self.failures})
        return self.judge()


class _MemberNotifier(Notifier):
    """The service manager hears of all streams as one."""

    def __init__(self, box: "Box", member: Member) -> None:
        super().__init__({})
        self.watchdog_s = box.notifier.watchdog_s
        self._box, self._member = box, member

    def ready(self, status: str) -> None:
        self._member.is_ready = True
        self.status(status)

    def status(self, words: str) -> None:
        self._member.words = words
        self._box.told()

    def starting(self, words: str, *, within_s: float) -> None:
        self._member.words = words
        self._box.notifier.starting(f"{self._member.device}: {words}", within_s=within_s)

    def ping_watchdog(self) -> None:
        self._member.alive_at_s = time.monotonic()
        self._box.pinged()

    def reloading(self) -> None: ...

    def stopping(self, words: str) -> None:
        self.status(words)


class Box:
    """The process of several streams."""

    def __init__(self, count: int, at_once: int, stack: ExitStack) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tflsplit-")))
        self.owners = _Owners(self.folder, stack, {}, threading.Lock(), count)
        self.metrics: str | None = None
        self.notifier = Notifier()
        self.turns = Turns(at_once=at_once)
        self.members = [Member(self, at) for at in range(count)]
        self.is_stopping = False
        self._is_said_ready = False

    def stop(self) -> None:
        self.is_stopping = True
        for member in self.members:
            member.stop()

    def reload(self) -> None:
        for member in self.members:
            member.reload()

    def told(self) -> None:
        """One of them said something of its state."""
        words = "; ".join(f"{member.device}: {member.words}" for member in self.members)
        if not self._is_said_ready and all(member.is_ready for member in self.members):
            self._is_said_ready = True
            self.notifier.ready(words)
        else:
            self.notifier.status(words)

    def pinged(self) -> None:
        """One is alive; the service is if none hangs. One that failed, is over, or begins, is no hang."""
        patience_s = (self.notifier.watchdog_s or 0.0) / 2
        at_work = [each for each in self.members if each.is_ready and each.failure is None and not each.has_ended]
        if all(time.monotonic() - member.alive_at_s < patience_s for member in at_work):
            self.notifier.ping_watchdog()

    def health(self) -> Health:
        """Names the first stream that is not well."""
        found = {member.device: member.health() for member in self.members if not member.has_ended}
        broken = next(((device, each) for device, each in found.items() if not each.is_live or not each.is_ready), None)
        why = None if broken is None else f"{broken[0]}: {broken[1].why or broken[1].state}"
        facts = {device: {"state": each.state, "why": each.why} | each.facts for device, each in found.items()}
        is_live = all(each.is_live for each in found.values())
        return Health(is_live, all(each.is_ready for each in found.values()), why, {"streams": facts})

    def families(self) -> Iterator[Family]:
        """Those of all streams, told apart by a label."""
        merged: dict[str, tuple[Family, list[Sample]]] = {}
        for member in self.members:
            for family in member.families():
                metric = replace(family.metric, labels=(*family.metric.labels, "device"))
                _, samples = merged.setdefault(family.name, (Family(family.prefix, metric, ()), []))
                samples += (replace(each, labels=(*each.labels, member.device)) for each in family.samples)
        for family, samples in merged.values():
            yield replace(family, samples=tuple(samples))


@dataclass(slots=True)
class _Owners:
    """The devices that streams share, by name: each is opened once, and served inside this process."""

    folder: Path
    stack: ExitStack
    paths: dict[str, Path]
    lock: threading.Lock
    streams: int

    def shared(self, name: str, threads: int, weight: float) -> str:
        """The accelerator's name for a stream."""
        if name == choice.AUTO:
            raise beside.automatic()
        device = choice.parse(name, threads=threads)
        if not isinstance(device, Coral | Delegate):
            return name
        with self.lock:
            if name not in self.paths:
                path = self.folder / f"{len(self.paths)}.sock"
                # One that begins again may come before its own end was noticed.
                owner = Owner(device, path, mode=0o600, most_users=2 * self.streams, waits=True)
                self.paths[name] = path
                thread = threading.Thread(target=owner.serve, name="accelerator-owner")
                thread.start()
                self.stack.callback(thread.join)
                self.stack.callback(owner.stop)
        return f"served:{self.paths[name]}?weight={weight:g}"


def run(context: click.Context) -> None:
    """Runs the streams of the file until each is over, or SIGTERM. ConfigurationError before any of them is begun;
    PeerError in the end names those that failed. On a CPU as many heads run at a time as it has cores for."""
    at_once = max(1, len(os.sched_getaffinity(0)) // context.params["threads"])
    with ExitStack() as stack:
        box = Box(command.repeats(context), at_once, stack)
        contexts = [command.parsed(context, member) for member in box.members]
        for remark in _remarks(context):
            log.warning("streams change models remark=%s", remark)
        alone = Surroundings()
        stack.enter_context(alone.observed(box.metrics, box.families, box.health))
        stack.enter_context(alone.stopped_by_signals(box.stop))
        stack.enter_context(alone.reloaded_by_signal(box.reload))
        threads = [
            threading.Thread(target=_keep_running, args=(box, member, made), name=member.device)
            for member, made in zip(box.members, contexts, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # so that signals are heard
    failed = [f"{member.device}: {member.failure}" for member in box.members if member.failure is not None]
    if failed:
        raise errors.PeerError(f"{text.counted(len(failed), 'stream')} failed: {'; '.join(failed)}")


def _remarks(context: click.Context) -> Iterable[str]:
    """Nothing of streams whose packages cannot be opened: they say so themselves."""
    edge, file = context.command, command.file_of(context)
    assert isinstance(edge, command.Command)  # noqa: S101 - no other has streams
    with suppress(errors.TflsplitError, click.UsageError):
        return edge.remarks(edge.each_merged(file))
    return ()


def _keep_running(box: Box, member: Member, made: click.Context) -> None:
    waits = 0
    while not (box.is_stopping or member.has_ended):
        began_s = time.monotonic()
        failure = _run_once(member, made)
        is_asked, member.begins_again = member.begins_again, False
        if failure is None and not is_asked:
            member.has_ended = True
            return
        if failure is not None:
            member.failure, member.failures = failure, member.failures + 1
            member.is_ready = True  # the service is not kept from its start by one of its streams
            member.words = f"failed: {failure}"
            box.told()
        if member.has_ended or box.is_stopping:
            return
        if not is_asked:
            waits = 0 if time.monotonic() - began_s > _STABLE_S else waits
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**waits)
            waits += 1
            log.error("stream failed device=%s again_in_s=%g reason=%s", member.device, wait_s, failure)
            give_up_s = time.monotonic() + wait_s
            while time.monotonic() < give_up_s and not box.is_stopping:
                time.sleep(0.1)
                box.pinged()
        try:
            made = command.parsed(made, member)
        except errors.TflsplitError as refused:
            log.error("configuration refused, the old one stays device=%s reason=%s", member.device, refused)


def _run_once(member: Member, made: click.Context) -> errors.TflsplitError | None:
    """Why it failed, if it did."""
    try:
        with made:
            made.command.invoke(made)
    except errors.TflsplitError as refused:
        return refused
    except click.ClickException as refused:
        return errors.SettingsError(str(refused))
    except BaseException:
        log.exception("stream ended by a fault of the program device=%s", member.device)
        return errors.DeviceError("a fault of the program, which the log shows")
    return None
