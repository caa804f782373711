"""A small model shared over machines, and workers of it in this process, over the broker in memory."""

import contextlib
import dataclasses
import threading

import int8_networks
import numpy as np
import tiny_models
import waiting

from broker.messages import results, topics
from broker.messages.presence import Presence
from broker.transport.memory import MemoryTransport
from edge_runtime.peers.settings import Settings
from edge_runtime.peers.worker import Worker
from edge_runtime.sources import frames
from tflsplit.api import distributing
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels import keeping
from tflsplit.placement import folder, machines


def write(root, count, *, model=int8_networks.everything, speed=1e7, sink=0):
    """The folder of a model shared over so many machines, and its package."""
    package = tiny_models.write_package(root / "net.tflsplit", model(), labels=())
    cluster = dataclasses.replace(machines.even(count, speed, 1e9), sink=sink)
    found = distributing.distribute(package, machines=cluster)
    assert len(found.used) == count, found.reason
    return folder.open_folder(distributing.write(found, package, root / "shared"))


def inputs(package, count, seed=0):
    random = np.random.default_rng(seed)
    return tuple(
        random.integers(-128, 128, (count, *spec.shape[1:]), dtype=np.int8) for spec in package.manifest.inputs
    )


def expected(package, columns):
    """What the whole model makes of each input, as results state it: the values of its outputs."""
    with Interpreter(package.model_bytes()) as whole:
        made = [whole.run(*(column[row : row + 1] for column in columns)) for row in range(len(columns[0]))]
    specs = package.manifest.results
    return [
        {
            spec.name: tuple(((array.astype(np.float64) - spec.zero_point) * spec.scale).reshape(-1))
            for spec, array in zip(specs, arrays, strict=True)
        }
        for arrays in made
    ]


def check(found, wanted):
    """Results that are those of the whole model, in the order of the inputs, repeats left out."""
    once = list(dict.fromkeys((each.boot, each.sequence) for each in found))
    assert [sequence for _, sequence in once] == list(range(len(wanted)))
    for result in found:
        for name, values in result.values:
            np.testing.assert_allclose(values, wanted[result.sequence][name], rtol=1e-6)


class Machines:
    """Workers on threads; `results` are those that anyone sees who listens, as they came."""

    def __init__(self, shared, broker):
        self.shared, self.broker = shared, broker
        self.workers, self.threads, self.transports, self.failures, self.results = {}, {}, {}, {}, []
        self._listener = MemoryTransport(broker, client_id="listener")
        self._listener.connect()
        self._listener.subscribe(topics.every_device("d", topics.Kind.RESULTS))

    def start(self, name, source=None, *, kernels=None, shared=None, kind=MemoryTransport, **settings):
        given = Settings(
            "d", name, **{"ends_with_source": True, "drain_s": waiting.WAIT_S, "replans": False, **settings}
        )
        presence = Presence(topics.topic("d", name, topics.Kind.STATUS), given.boot)
        transport = self.transports[name] = kind(self.broker, client_id=f"{name}-{given.boot}", presence=presence)
        transport.connect()
        shared = shared or self.shared
        worker = Worker(shared, transport, given, kernel_class=kernels or keeping.here())
        opened = source
        if isinstance(source, tuple):
            opened = frames.from_arrays(source, shared.package.manifest, name="inputs")
        thread = threading.Thread(target=self._run, args=(name, worker, transport, opened), daemon=True)
        self.workers[name], self.threads[name] = worker, thread
        thread.start()
        return worker

    def _run(self, name, worker, transport, source):
        try:
            worker.run(source)
        except Exception as failure:  # noqa: BLE001 - looked at by the test
            self.failures[name] = failure
        finally:
            transport.close(timeout_s=1.0)

    def join(self, *names):
        for name in names or tuple(self.threads):
            self.threads[name].join(waiting.WAIT_S)
            assert not self.threads[name].is_alive(), name

    def take_results(self):
        while (message := self._listener.receive(0.0)) is not None:
            self._listener.acknowledge(message)
            if message.payload:
                self.results.append(results.parse(message.payload))
        return self.results

    def close(self):
        for worker in self.workers.values():
            worker.stop()
        with contextlib.suppress(AssertionError):
            self.join()
        self._listener.close(timeout_s=0.0)
