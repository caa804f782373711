"""Edges that move their cut, over the in-memory transport, and controllers that move it as a test needs."""

import contextlib

import numpy as np
import running_edge
import watching

from broker.messages import results
from broker.transport import memory
from edge_runtime import loop
from edge_runtime.adapting import adaptation, candidates
from tflsplit.graph.interpreter import Interpreter
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Controller, Switch, Tuning
from tflsplit.switching.goal import Goal

INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)
USUAL = Present(1 / 50e6, 0.002)
SOON, LATE = 1e-9, 10.0  # of a way that is expected to take 100 s


def choices():
    """The tiny model as if its operators took 20 ms here and 5 ms in the cloud; small boundaries are dear to send."""
    rows = (("input", 0.0, 9_000, 0.015, 0.06), ("op000", 0.02, 6_000, 0.01, 0.04), ("op001", 0.04, 5_000, 0.005, 0.02))
    return [*(Choice(*row) for row in rows), Choice("output", 0.06, 0.0, 0.0, 0.0)]


class Restless(Controller):
    """A stand-in that takes another usable cut for each frame."""

    def pick(self, now_s):
        usable = self.usable(now_s)
        before, self._turn = self._now, getattr(self, "_turn", 0) + 1
        self._now = usable[self._turn % len(usable)]
        if self._now is not before:
            self.switches.append(Switch(now_s, before.id, self._now.id, "test"))
        return self._now


class Stays(Controller):
    """A stand-in that stays at its first cut."""

    def pick(self, now_s):
        super().pick(now_s)
        return next(each for each in self._choices if each.id == "op000")


@contextlib.contextmanager
def moving(package, *, kind=Controller, probing=None, start="op000", among=None, batch=1):
    listed = among or choices()
    controller = kind(listed, USUAL, Goal(), Tuning(probing=probing), start=start)
    with candidates.opened(package, listed, batch=batch) as opened:
        yield adaptation.Adaptation(opened, controller, start)


class Run(running_edge.RunningEdge):
    """Device n of deployment d, which moves its cut."""

    def __init__(self, package, network, mover, spool=None, is_online=True, **changes):
        online = memory.MemoryTransport(network, client_id="edge")
        if is_online:
            online.connect()
        else:
            network.join(online)
        self.watcher = watching.Watching()
        more = {"observers": [self.watcher], "adaptation": mover, "spool": spool}
        edge = loop.Edge(package, mover.first, online, running_edge.settings(**changes), **more)
        super().__init__(edge, online, INPUTS)

    def __exit__(self, *_):
        super().__exit__()
        self.online.close()

    def check_results(self, package):
        """Each result that came is the whole model's of its input; returns the cuts that they came by."""
        with Interpreter(package.model_bytes()) as whole:
            spec = package.manifest.outputs[0]
            expected = [float(np.float32(spec.scale)) * whole.run(row[None])[0].astype(float).ravel() for row in INPUTS]
        found = [answer for answer in self.watcher.answers if isinstance(answer, results.Result)]
        for result in found:
            assert np.allclose(dict(result.values)["c"], expected[result.sequence % len(INPUTS)], rtol=1e-6)
        assert len({result.sequence for result in found}) == len(found)
        return [result.cut for result in found]
