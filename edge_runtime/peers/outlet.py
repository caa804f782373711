"""The sink's results, in the order of the frames, on the topic where the source's results are read."""

import logging
import time
from collections.abc import Iterator

from broker.messages import results, topics
from broker.messages.peers import parcels
from broker.messages.peers.parcels import Stamp
from edge_runtime.peers.frames import Begun
from edge_runtime.peers.outgoing import Message
from edge_runtime.peers.summary import Summary
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs
from tflsplit.package.reading import Package

_log = logging.getLogger(__name__)

# What results say as their cut: no one cut divides the model.
CUT = "shared"


class Outlet:
    """For one epoch, and the thread that sends. `speaker` is deployment and source, `machine` the sink's number. With
    `is_raw` results carry the model's outputs as they are, with `has_mask` the mask of a model that segments, where a
    message of at most `most_bytes` holds it. A result that is too large without it is refused.

    The source is told of a result when it was delivered, not before: over direct links that is when all who read
    results have it. So what comes again after the sink's death, out of another one, begins at or before the first
    result that any reader misses, and whoever drops repeats sees all in the order of the inputs.
    """

    def __init__(
        self,
        package: Package,
        speaker: tuple[str, str],
        machine: int,
        summary: Summary,
        *,
        is_exact: bool | None,
        is_raw: bool,
        has_mask: bool,
        most_bytes: int,
    ) -> None:
        deployment, self._device = speaker
        self._package = package
        self._digest = package.digest
        self._topic = topics.topic(deployment, self._device, topics.Kind.RESULTS)
        self._answers = topics.topic(deployment, self._device, topics.Kind.PARTS)
        self._machine = machine
        self._summary = summary
        self._is_exact = is_exact
        self._is_raw = is_raw
        self._has_mask = has_mask
        self._most_bytes = most_bytes
        self._waiting: dict[int, Message] = {}
        self._next = 0

    def take(self, begun: Begun, found: tuple[Array, ...]) -> Iterator[Message]:
        """What can go out now that these are a frame's outputs; those of frames before it go first."""
        stamp, encoded = begun.stamp, self._result(begun.stamp, begun, found).as_json()
        if len(encoded) > self._most_bytes:
            encoded = results.without_mask(encoded)
        self._summary.masks_left_out += encoded.endswith(results.MASK_LEFT_OUT)
        if len(encoded) > self._most_bytes:
            encoded = self._refused(stamp, len(encoded))
        answer = self._answers, parcels.answered(stamp, self._machine)
        self._waiting[stamp.place] = self._topic, encoded, answer
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._summary.results += 1
            self._next += 1

    def _refused(self, stamp: Stamp, result_bytes: int) -> bytes:
        reason = results.not_fitting(result_bytes, self._most_bytes)
        _log.warning("refuses a result sequence=%d reason=%s", stamp.sequence, reason)
        self._summary.drop(results.TOO_LARGE)
        return results.Refusal(
            self._device, stamp.run, stamp.sequence, reason, time.time() * 1e3, results.TOO_LARGE
        ).as_json()

    def _result(self, stamp: Stamp, begun: Begun, found: tuple[Array, ...]) -> results.Result:
        manifest = self._package.manifest
        told = outputs.of(manifest, found, source=stamp.size)
        raw = zip(manifest.results, found, strict=True) if self._is_raw else ()
        took_s = time.monotonic() - begun.since_s
        return results.Result(
            device=self._device,
            boot=stamp.run,
            sequence=stamp.sequence,
            cut=CUT,
            package=self._digest,
            times=results.Times(
                captured_ms=stamp.captured_ns / 1e6,
                head_ms=0.0,
                received_ms=begun.received_ms,
                queue_ms=max(0.0, took_s - begun.compute_s) * 1e3,
                decode_ms=0.0,
                tail_ms=begun.compute_s * 1e3,
                sent_ms=time.time() * 1e3,
            ),
            top=tuple(results.Score(label, score) for label, score in told.top),
            values=told.values,
            found=told.found,
            outputs=tuple(results.Output.of(spec, array) for spec, array in raw),
            is_exact=self._is_exact,
            mask=results.mask_of(told.found) if self._has_mask else None,
        )
