"""The sink's results, in the order of the frames, on the topic where the source's results are read."""

import time
from collections.abc import Callable

from broker.messages import results, topics
from broker.messages.peers.parcels import Stamp
from edge_runtime.peers.frames import Begun
from edge_runtime.peers.summary import Summary
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs
from tflsplit.package.reading import Package

# What results say as their cut: no one cut divides the model.
CUT = "shared"


class Outlet:
    """For one epoch, and the thread that computes. `publish` takes a topic and a message. With `is_raw` results carry
    the model's outputs as they are."""

    def __init__(
        self,
        package: Package,
        speaker: tuple[str, str],
        publish: Callable[[str, bytes], None],
        summary: Summary,
        *,
        is_exact: bool | None,
        is_raw: bool | None,
    ) -> None:
        deployment, self._device = speaker
        self._package = package
        self._digest = package.digest
        self._topic = topics.topic(deployment, self._device, topics.Kind.RESULTS)
        self._publish = publish
        self._summary = summary
        self._is_exact = is_exact
        self._is_raw = is_raw
        self._waiting: dict[int, bytes] = {}
        self._next = 0

    def put(self, begun: Begun, found: tuple[Array, ...]) -> None:
        """A frame's outputs; those of frames before it go first."""
        self._waiting[begun.stamp.place] = self._result(begun.stamp, begun, found)
        while self._next in self._waiting:
            self._publish(self._topic, self._waiting.pop(self._next))
            self._summary.results += 1
            self._next += 1

    def _result(self, stamp: Stamp, begun: Begun, found: tuple[Array, ...]) -> bytes:
        manifest = self._package.manifest
        told = outputs.read(manifest.results, found, manifest.labels, manifest.meanings)
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
            outputs=tuple(results.Output.of(spec, array) for spec, array in raw),
            is_exact=self._is_exact,
        ).as_json()
