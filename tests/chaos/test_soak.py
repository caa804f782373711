"""A million frames: what edge and cloud hold does not grow with what they have done, and frames take no longer."""

import math
import re
import statistics
import threading
import urllib.request

import ports
import pytest

pytestmark = pytest.mark.chaos

WHOLE = (pytest.mark.sweep, pytest.mark.timeout(7200))
PARTS = 10
LOOK_S = 0.1


class Edge:
    """An edge as its metrics show it."""

    def __init__(self, deployment, count):
        self._port = ports.free_port()
        options = ("--window", "256", "--metrics", self._port, "--count", count)
        self.process = deployment.edge(*options)
        self.process.wait_until_online()

    def look(self):
        """Results so far, and the seconds that they took together from capture to answer; None once it has ended."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        found = dict(re.findall(r"^tflsplit_edge_latency_seconds_(count|sum) (\S+)$", text, re.MULTILINE))
        return tuple(float(found.get(name, 0.0)) for name in ("count", "sum"))  # none before the first answer


def watch(edge, cloud, count):
    """Of each part of the run: the memory of edge and cloud (medians, bytes), and the mean latency."""
    pause = threading.Event()
    looks = []
    while (seen := edge.look()) is not None and seen[0] < count:
        looks.append((*seen, edge.process.memory_bytes(), cloud.memory_bytes()))
        pause.wait(LOOK_S)
    parts = []
    for number in range(PARTS):
        within = [look for look in looks if number <= look[0] * PARTS / count < number + 1]
        assert len(within) > 1, f"part {number} of the run went by unseen"
        done, took_s = (within[-1][place] - within[0][place] for place in (0, 1))
        memory = [statistics.median(look[place] for look in within) for place in (2, 3)]
        parts.append((*memory, took_s / done if done else None))
    return parts


# In a short run the memories that are bounded are still filling (4,096 answers, 10,000 latencies, and at a cloud up to
# 32 MiB of what its broker may forget), and what else the machine does decides how long frames take. A leak that shows
# in their time would make a million wait ever longer.
@pytest.mark.parametrize(
    ("count", "bounds"), [(20_000, (0.6, math.inf)), pytest.param(1_000_000, (0.02, 2.0), marks=WHOLE)]
)
def test_memory_and_latency_do_not_grow_with_the_frames_done(deploy, mosquitto, record_property, count, bounds):
    growth, longer = bounds
    deployment = deploy(mosquitto("set_tcp_nodelay true", "max_inflight_messages 256").url)
    cloud = deployment.cloud()
    edge = Edge(deployment, count)
    parts = watch(edge, cloud, count)
    summary = edge.process.done()
    cloud.terminate()
    served = cloud.done()
    record_property("parts", parts)
    second, last = parts[1], parts[-1]

    assert (summary["results"], served["results"]) == (count, count)
    assert last[0] <= second[0] * (1 + growth), parts
    assert last[1] <= second[1] * (1 + growth), parts
    assert last[2] <= second[2] * longer, parts
