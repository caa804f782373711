"""An edge: the head of a cut on this device, its features to a broker, the results back."""

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from broker.messages import results
from broker.messages.results import Result
from broker.transport.credentials import Role
from broker.transport.memory import MemoryBroker
from edge_runtime import head, loop
from edge_runtime.delivery import framing, outcome
from edge_runtime.delivery.observer import OwnAnswer, Settled
from edge_runtime.delivery.settings import Delivery, Settings, Until
from edge_runtime.delivery.summary import Summary
from edge_runtime.sources import frames
from edge_runtime.sources.frames import Source
from tflsplit import arguments, errors, quantities
from tflsplit.api import accelerators, adapting, connections, gating, packages, planfile
from tflsplit.arguments import PathLike
from tflsplit.coding import input_codec as coding_input_codec
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.kernels.heads import Exact
from tflsplit.package import judging, trial
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # what an edge without a spool or a plan does without
    from edge_runtime.delivery.durable.spool import Spool
    from tflsplit.planning.pipeline import Outcome


def open_source(
    source: "PathLike | Array | Sequence[Array] | Source", pkg: PathLike | Package, *, as_pixels: bool = False
) -> Source:
    """Inputs for a package: pictures, a .npy, .npz or .csv file, an array for each input, or a word as of
    `tflsplit edge --source` (`camera:N`, `watch:FOLDER`, `rtsp://…`).

    uint8 arrays and pictures are pixels and go through the package's preprocessing; with `as_pixels` they stay pixels,
    for an edge that sends these. A source that was opened already is returned as it is.
    """
    if isinstance(source, Source):
        return source
    return frames.open_source(source, packages.open(pkg).manifest, as_pixels=as_pixels)


class Edge:
    """The head of a cut, loaded and ready for `run`; a context manager, or to be closed.

    `broker` is an address (mqtt://host, mqtts://host), a list of them, of which the device's name decides, or a
    `broker.transport.memory.MemoryBroker` of this process; with `credentials`, a folder that `tflsplit broker init`
    made, it may be left out, and so may `deployment` and `device`. `cut` is by default the package's own choice; a
    `plan`, which is a file or what `tflsplit.plan` returned, fixes it, and how its frames are sent. With `adapt` the
    cut moves among the plan's candidates. With `answer_here` the device computes the whole model and keeps answers
    above that score. All other words are those of `tflsplit edge --help`; times are seconds, or texts as "90s".
    """

    def __init__(
        self,
        pkg: PathLike | Package,
        broker: str | Sequence[str] | MemoryBroker | None = None,
        *,
        deployment: str | None = None,
        device: str | None = None,
        cut: str | Cut | None = None,
        credentials: PathLike | None = None,
        accelerator: str = "cpu",
        fallback: str | None = None,
        threads: int = 1,
        input_codec: str | None = None,
        delivery: str = "all",
        until: str = "result",
        qos: int | None = None,
        window: int | None = None,
        resend_after: str | float = 5.0,
        max_age: str | float = 2.0,
        drain: str | float = 30.0,
        exact: str = "prefer",
        spool: PathLike | None = None,
        plan: "PathLike | Outcome | None" = None,
        adapt: bool = False,
        objective: str = "mean",
        probes: bool = True,
        batch: int | None = None,
        batch_wait: str | float | None = None,
        mask: bool = False,
        hedge: float | None = None,
        answer_here: str | float | None = None,
        at_most: str | None = None,
        audit: str | float | None = None,
    ) -> None:
        self.package = packages.open(pkg)
        fixed = None if plan is None else planfile.of(plan, self.package)
        codec = _codec(input_codec, fixed, cut)
        stated = {"input_codec": codec, "window": window, "batch": batch}
        given: dict[str, Any] = {name: value for name, value in stated.items() if value is not None}
        given |= _kinds(delivery=(Delivery, delivery), until=(Until, until), exact=(Exact, exact))
        given |= _seconds(resend_after=resend_after, max_age=max_age, drain=drain, batch_wait=batch_wait)
        speaker = connections.speaker(deployment, device, "device", credentials)
        self._settings = Settings(*speaker, qos=qos, wants_mask=mask, **(planfile.settings(fixed) | given))
        self._broker = connections.reached(broker, credentials, self._speaker, Role.DEVICE)
        self._spool = None if spool is None else arguments.path(spool, "spool")
        named = cut if fixed is None else fixed.cut
        self.cut = self.package.default_cut() if named is None else self.package.cut(named)
        framing.check_mask(self.package, is_wanted=mask)
        self._as_pixels = framing.of(self.package, self.cut, *self._settings.form).pixels is not None
        trial.once(self.package)
        self._resources = contextlib.ExitStack()
        wishes: dict[str, Any] = {"adapt": adapt, "objective": objective, "probes": probes, "hedge": hedge}
        wishes |= {"accelerator": accelerator, "fallback": fallback, "gate": gating.terms(answer_here, at_most, audit)}
        course = adapting.course(self.package, self.cut, fixed, self._settings, threads=threads, **wishes)
        self._course = self._resources.enter_context(course)
        moving = self._course.get("adaptation")
        self._head = moving.first if moving else self._opened(accelerator, fallback, threads)
        is_cpu = self._head.condition.runs_on == "cpu"
        self._golden = judging.at_start(self._head.run, self.package, self._head.cut, is_cpu=is_cpu)
        self._running: loop.Edge | None = None

    def _opened(self, accelerator: str, fallback: str | None, threads: int) -> head.Head:
        computing = accelerators.chosen(accelerator, self.package, self.cut, threads=threads)
        spare = accelerators.fallback(fallback, threads)
        given: dict[str, Any] = {"accelerator": computing, "fallback": spare, "batch": self._settings.batch}
        return self._resources.enter_context(head.Head(self.package, self.cut, **given))

    def __repr__(self) -> str:
        deployment, device = self._speaker
        return (
            f"<edge {device} of {deployment}: {self.package.manifest.name} at {self.cut.id}, on "
            f"{self._head.condition.runs_on or 'nothing'}, over {connections.shown(self._broker)}>"
        )

    def run(
        self,
        source: "PathLike | Array | Sequence[Array] | Source",
        *,
        count: int | None = None,
        rate: float | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> Summary:
        """Send each input of the source and wait for the answers; may be called again.

        Ends with the source, after `count` frames, or by `stop`. At most `rate` frames a second are sent, by default as
        many as the plan says. `on_result` gets the first result of each frame, on a thread of the edge; one of the
        device itself says so by `is_of_device`. BrokerError without a broker;
        PeerError for frames that had no answer, FrameError for those that the cloud refused.
        """
        if on_result is not None and not callable(on_result):
            raise arguments.wrong("on_result", on_result, "a function of one result")
        rate_fps = self._settings.rate_fps if rate is None else rate
        settings = dataclasses.replace(self._settings, boot=secrets.randbits(64), count=count, rate_fps=rate_fps)
        taken_from = self._source(source)
        observers = () if on_result is None else (_Results(on_result),)
        with (
            contextlib.closing(taken_from),
            self._opened_spool() as spool,
            connections.connected(self._broker, self._speaker, settings.boot, is_quick=settings.is_latest) as online,
        ):
            self._running = loop.Edge(
                *(self.package, self._head, online, settings),
                spool=spool,
                observers=observers,
                **self._course,
            )
            self._running.describe("golden", self._golden)
            summary = self._running.run(taken_from)
        outcome.check(summary, settings, is_stopped=self._running.is_stopping)
        return summary

    def _source(self, source: "PathLike | Array | Sequence[Array] | Source") -> Source:
        moving = self._course.get("adaptation")
        may_send_pixels = moving is not None and moving.wants_pixels
        more: dict[str, Any] = {
            "reader": "/".join(self._speaker),
            "connect": connections.of_pictures(lambda: self._broker, self._speaker),
        }
        if may_send_pixels and not self._as_pixels and not isinstance(source, Source):
            return frames.open_either(source, self.package.manifest, **more)
        if isinstance(source, Source):
            return source
        return frames.open_source(source, self.package.manifest, as_pixels=self._as_pixels, **more)

    def stop(self) -> None:
        """Ends `run` from another thread, once every frame that was sent is answered."""
        if self._running is not None:
            self._running.stop()

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> "Edge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _speaker(self) -> tuple[str, str]:
        return self._settings.deployment, self._settings.device

    @contextlib.contextmanager
    def _opened_spool(self) -> "Iterator[Spool | None]":
        if self._spool is None:
            yield None
            return
        from edge_runtime.delivery.durable import spool

        deployment, device = self._speaker
        with spool.open_spool(self._spool, spool.limits(), deployment=deployment, device=device) as opened:
            yield opened


def _codec(input_codec: str | None, fixed: object, cut: object) -> coding_input_codec.InputCodec | None:
    """SettingsError where a plan says already what is sent."""
    if fixed is not None and (cut is not None or input_codec is not None):
        raise errors.SettingsError("plan, and cut or input_codec, both say what is sent; give one")
    return None if input_codec is None else coding_input_codec.parse(input_codec)


def _kinds(**given: tuple[type[Enum], str]) -> dict[str, Any]:
    """Settings that are one word of few; SettingsError for any other."""
    return {
        name: kind(arguments.one_of(word, [each.value for each in kind], name)) for name, (kind, word) in given.items()
    }


def _seconds(**given: str | float | None) -> dict[str, Any]:
    """Settings that are times, by the names that they have there."""
    return {
        f"{name}_s": None if time is None else quantities.parse_duration(time, name) for name, time in given.items()
    }


class _Results:
    """Hands on the first result of each frame, of a cloud or of this device; what a cloud refused is in the summary."""

    def __init__(self, hand_on: Callable[[Result], None]) -> None:
        self._hand_on = hand_on

    def alive(self) -> None:
        pass

    def settled(self, settled: Settled) -> None:
        if isinstance(settled.answer, results.Result) and settled.own_s is None:
            self._hand_on(settled.answer)

    def answered(self, own: OwnAnswer) -> None:
        self._hand_on(own.result)
