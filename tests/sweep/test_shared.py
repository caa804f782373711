"""Whole models shared over 2 to 6 machines in every way, alone and mixed, give what the model gives, bit for bit."""

import kinds
import pytest
import ways_to_share

from converters import convert
from tflsplit.graph import flatgraph
from tflsplit.placement.rewriting.network import Network

# NumPy 2 says it of Keras reading its own TensorFlow variables.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.sweep,
    pytest.mark.timeout(3600),
]

_SMALL = {"input_shape": (96, 96, 3)}
MODELS = {
    "unet": kinds.unet,
    "mobilenet_v2": kinds.application("MobileNetV2", **_SMALL),
    "mobilenet_v3": kinds.application("MobileNetV3Small", include_preprocessing=False, **_SMALL),
    "efficientnet_b0": kinds.application("EfficientNetB0", **_SMALL),
    "resnet_50": kinds.application("ResNet50", **_SMALL),
    "vgg_16": kinds.application("VGG16", **_SMALL),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    keras = pytest.importorskip("keras")
    saved = tmp_path_factory.mktemp(request.param) / f"{request.param}.keras"
    kinds.randomise(MODELS[request.param](keras)).save(saved)
    options = convert.Options(pairs="none", quick=True)
    return convert.convert(saved, saved.with_suffix(".tflsplit"), options).model_bytes()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_every_way_to_share_a_model_is_bit_exact(model, count):
    network = Network(flatgraph.read(model))
    assert ways_to_share.differing(model, ways_to_share.ways(network, count)) == []


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("file", ["teachable_machine_keras24.h5", "tf2_mobilenet_v2_1.0_224_ptq.tflite"])
def test_public_models_are_shared_bit_exactly(shared_data, tmp_path, file, count):
    options = convert.Options(pairs="none", quick=True)
    data = convert.convert(shared_data / file, tmp_path / "public.tflsplit", options).model_bytes()
    assert ways_to_share.differing(data, ways_to_share.ways(Network(flatgraph.read(data)), count)) == []
