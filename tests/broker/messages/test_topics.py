import pytest

from broker.messages import topics
from tflsplit import errors

CASES = [
    ("tflsplit/v1/factory/cam-1/features", topics.Topic("factory", "cam-1", topics.Kind.FEATURES)),
    ("tflsplit/v1/a/b/results", topics.Topic("a", "b", topics.Kind.RESULTS)),
    ("tflsplit/v1/A.b_c-9/x/status", topics.Topic("A.b_c-9", "x", topics.Kind.STATUS)),
    ("tflsplit/v1/a/b/birth", topics.Topic("a", "b", topics.Kind.BIRTH)),
    ("tflsplit/v1/a/b/telemetry", topics.Topic("a", "b", topics.Kind.TELEMETRY)),
    (f"tflsplit/v1/a/{'x' * 64}/control", topics.Topic("a", "x" * 64, topics.Kind.CONTROL)),
]


@pytest.mark.parametrize(("text", "topic"), CASES)
def test_topic_reads_back_as_it_was_written(text, topic):
    assert str(topic) == text
    assert topics.parse(text) == topic
    assert topics.topic(topic.deployment, topic.device, topic.kind) == text


@pytest.mark.parametrize(
    "name", ["", "a/b", "+", "#", "a b", "käse", "$SYS", "x" * 65, "a\n", "٣", "..", ".", "-x", ".hidden", "_x"]
)
def test_name_that_a_broker_could_misread_is_refused(name):
    with pytest.raises(errors.SettingsError, match="allowed are 1 to 64 of the characters"):
        topics.topic(name, "device", topics.Kind.FEATURES)
    with pytest.raises(errors.SettingsError, match="device name"):
        topics.topic("deployment", name, topics.Kind.FEATURES)
    with pytest.raises(errors.SettingsError, match="deployment name"):
        topics.every_device(name, topics.Kind.FEATURES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tflsplit/v1/a/b",
        "tflsplit/v1/a/b/features/x",
        "tflsplit/v2/a/b/features",
        "other/v1/a/b/features",
        "tflsplit/v1/a/b/unheard-of",
        "tflsplit/v1/a//features",
        "tflsplit/v1/a/+/features",
    ],
)
def test_foreign_topic_is_a_peer_error(text):
    with pytest.raises(errors.FrameError, match="topic"):
        topics.parse(text)


def test_a_filter_covers_every_device_of_a_deployment():
    assert topics.every_device("d", topics.Kind.FEATURES) == "tflsplit/v1/d/+/features"


def test_home_assistant_is_told_of_a_device_where_it_looks():
    assert topics.discovery("plant1", "cam-1", "ha") == "ha/device/tflsplit-plant1-cam-1/config"
    with pytest.raises(errors.SettingsError, match="no dots"):
        topics.discovery("plant1", "cam.1")
