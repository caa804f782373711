"""A device that takes updates, with its cloud and its operator, over the broker in memory."""

import contextlib
import dataclasses
import hashlib
import itertools
import pathlib
import threading

import numpy as np
import tiny_models
import waiting

from broker.messages import topics
from broker.rollout import pushing
from broker.transport import memory
from edge_runtime import loop
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from edge_runtime.updates import probation, store, swap, updater
from tflsplit import bundle
from tflsplit.package import manifest, reading
from tflsplit.package.manifest import Role

WAIT_S = waiting.WAIT_S
SUPPORT = str(pathlib.Path(__file__).parent)  # for child processes
_NUMBERS = itertools.count()
INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)
QUICK = probation.Terms(frames=5, patience_s=WAIT_S)


class Settles:
    """Every answer that came, for those who wait for one."""

    def __init__(self):
        self.all = []
        self._came = threading.Condition()

    def alive(self):
        pass

    def answered(self, own):
        pass

    def settled(self, settled):
        with self._came:
            self.all.append(settled)
            self._came.notify_all()

    def wait_for(self, is_so):
        with self._came:
            assert self._came.wait_for(lambda: is_so(self.all), WAIT_S), self.all[-3:]


class Device:
    """One start of an edge; it ends well with `stop`, and as after a crash with `crash`."""

    def __init__(
        self,
        network,
        models,
        original,
        verifier,
        *,
        terms=QUICK,
        resolve=None,
        url_prefix=None,
        moving=None,
        who=("d", "n"),
        **changes,
    ):
        """`moving` makes lineups and, with these and a head, an adaptation. `network` is the broker in memory, or makes
        the transport of a client's name, which is closed with the device."""
        self.settles = Settles()
        self._stack = contextlib.ExitStack()
        self._ended = False
        cut = changes.pop("cut", "op000")
        settings = Settings(*who, changes.pop("boot", 7), count=10**9, **{"rate_fps": 500.0, "drain_s": 0.5} | changes)
        self.store = store.Store(models)
        found = self.store.begin()
        running, at = (
            (original, original.cut(cut)) if found is None else (found.package, found.package.cut(found.offer.cut))
        )
        opening = moving.lineups if moving else swap.Opening(resolve or (lambda package, cut: Cpu()))
        terms = updater.Settings(*who, verifier, url_prefix, terms, stalled_s=0.5)
        self.updater = updater.Updater(self.store, terms, (original, original.cut(cut)))
        ready = opening.open(running, at)
        self.mover = moving and moving.adaptation(ready)
        transport = self._join(network, "edge")
        self.edge = loop.Edge(
            *(running, ready, transport, settings),
            observers=(self.settles, self.updater),
            rescue=self.updater.rescue,
            adaptation=self.mover,
        )
        self._swap = swap.Swap(self.edge, opening, swap.Model(running, ready))
        self.failure = None
        source = frames.from_arrays((INPUTS,), running.manifest, name="test")
        self._thread = threading.Thread(target=self._run, args=(source,), name="device")
        self.updater.start(self.edge, self._swap, found, lambda: self._join(network, "edge-u"))
        self._thread.start()

    def stop(self):
        self._end(is_good_end=True)
        return self.edge.summary

    def crash(self):
        """What is on the disk is what a kill would leave: no goodbye."""
        self._end(is_good_end=False)

    def _end(self, *, is_good_end):
        if self._ended:
            return
        self._ended = True
        self.edge.stop()
        self._thread.join(WAIT_S)
        self.updater.close()
        self._swap.close()
        self.store.close(is_good_end=is_good_end)
        self._stack.close()

    def _run(self, source):
        try:
            self.edge.run(source)
        except Exception as failure:  # noqa: BLE001 - the test looks at it
            self.failure = failure

    def _join(self, network, name):
        made = network(name) if callable(network) else memory.MemoryTransport(network, client_id=name)
        self._stack.callback(made.close, timeout_s=0)
        made.connect()
        return made


def push(network, pushed, signer, *, wait_s=WAIT_S, transport=None, on_report=lambda report: None, **options):
    """What became of it on the device `n`."""
    with transport or memory.MemoryTransport(network, client_id="operator") as joined:
        joined.connect()
        options |= {"wait_s": wait_s, "on_report": on_report}
        (outcome,) = pushing.push(joined, "d", pushed, ["n"], signer, **options)
    return outcome


class OperatorLeftError(Exception):
    """What ends a push before its time."""


def push_until(network, state, pushed, signer, **options):
    """A push whose operator leaves when the device is so far."""

    def look(report):
        if report.state is state:
            raise OperatorLeftError

    with contextlib.suppress(OperatorLeftError):
        raise AssertionError(push(network, pushed, signer, on_report=look, **options))


def edge_bundle(whole, folder, cut="op000"):
    return bundle.write(folder, whole, Role.EDGE, (whole.cut(cut),))


def resealed(made, changes=None, **fields):
    """The bundle with some files changed and the manifest as if that belonged so: what an owner of the key can make."""
    files = dict(made.manifest.files)
    for name, data in (changes or {}).items():
        (made.path / name).write_bytes(data)
        files[name] = manifest.File(hashlib.sha256(data).hexdigest(), len(data))
    described = dataclasses.replace(made.manifest, files=fields.pop("files", files), **fields)
    (made.path / "manifest.json").write_text(manifest.render(described))
    return reading.Package(made.path, described)


def wide_package(path, seed, *, rows=150_000):
    """A package whose head weighs some hundred kilobytes: x → a fully connected layer → an addition."""
    made = tiny_models.Builder()
    weights = np.random.default_rng(seed).integers(-127, 128, (rows, 4), dtype=np.int8)
    x = made.tensor("x", (1, 4))
    w = made.tensor("w", weights.shape, data=weights)
    y = made.tensor("y", (1, rows), scale=0.4)
    options = tiny_models.schema.FullyConnectedOptionsT()
    made.operator("FULLY_CONNECTED", (x, w, -1), (y,), options, options_type="FullyConnectedOptions", version=4)
    z = made.add(y, y, "z", (1, rows), scale=0.8)
    return tiny_models.write_package(path, made.build((x,), (z,)), labels=())


def heard(network, *kinds):
    """Messages of the device from now on, and what is retained of it: `take()` gives the next."""
    listener = memory.MemoryTransport(network, client_id=f"listener-{next(_NUMBERS)}")
    listener.connect()
    for kind in kinds:
        listener.subscribe(topics.topic("d", "n", kind))

    def take(timeout_s=WAIT_S):
        message = listener.receive(timeout_s)
        if message is not None:
            listener.acknowledge(message)
        return message

    return take


def send_control(network, payload):
    network.publish(topics.topic("d", "n", topics.Kind.CONTROL), payload, 1, retain=False)
