"""Workers as processes, at full size: each killed once while they share a model that people know, and nothing is lost.

What came of all models and ways is in docs/measurements/workers.md, by benchmarks/real_workers.py.
"""

import named_models
import pytest
import ways_to_share

from broker.local import server
from tflsplit.cli.trials.sharing import one_box
from tflsplit.package import reading
from tflsplit.placement.rewriting.network import Network

# NumPy 2 says it of Keras reading its own TensorFlow variables.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.sweep,
    pytest.mark.chaos,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed"),
]
HEAVY = ("resnet_50", "vgg_16")


@pytest.fixture(scope="module", params=named_models.MODELS)
def model(request, tmp_path_factory, public_models):
    pytest.importorskip("keras")
    if request.param == named_models.TEACHABLE and not public_models.is_dir():
        pytest.skip("needs the folder of public models")
    folder = tmp_path_factory.mktemp(request.param)
    frames = 300 if request.param in HEAVY else 1000
    return reading.open_package(named_models.package(request.param, folder, public_models)), frames


@pytest.mark.parametrize(
    ("way", "count"), [("latency", 2), ("latency", 4), ("latency", 6), ("throughput", 5), ("chain", 3), ("chain", 4)]
)
def test_nothing_is_lost_or_wrong_though_each_worker_dies(model, tmp_path, way, count):
    package, frames = model
    placed = ways_to_share.way(way, Network(package.graph), count, speed=3.4e8)
    shared = ways_to_share.write(package, ways_to_share.cluster(count), placed, tmp_path / "shared")
    found = one_box.run(shared, frames=frames, pace="1e18", kills=True)
    assert found.is_whole
    assert found.frames >= frames
    assert found.killed == len(set(found.busy_ms))
