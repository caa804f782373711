"""An edge of a test that runs on a thread of its own, and what it counts."""

import threading

import watching
from waiting import WAIT_S

from edge_runtime.delivery.settings import Settings
from edge_runtime.monitoring.metrics import EdgeMetrics
from edge_runtime.sources import frames


def settings(**changes):
    """Of device n of deployment d."""
    return Settings(**{"deployment": "d", "device": "n", "boot": 7, "drain_s": WAIT_S} | changes)


class RunningEdge:
    """It takes `inputs` over and over until the block ends. `watch` are metrics that observe it already."""

    def __init__(self, edge, online, inputs, watch=None):
        self.edge, self.online = edge, online
        self.watch = watch or EdgeMetrics()
        self.watch.attach(edge, online)
        source = frames.from_arrays((inputs,), edge.package.manifest, name="test")
        self.thread = threading.Thread(target=edge.run, args=(source,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.edge.stop()
        self.thread.join(WAIT_S)

    def values(self):
        return watching.values(self.watch)
