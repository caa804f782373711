"""What is announced of detectors, segmenters and poses, and what its templates make of real results."""

import dataclasses
import json
import types

import jinja2.sandbox
import pytest

from broker.messages import results
from edge_runtime.monitoring import answer_entities
from tflsplit.decoding import forms
from tflsplit.decoding.forms import Form
from tflsplit.decoding.found import Found, Keypoint, Object, Share
from tflsplit.graph.tensors import TensorSpec

BOX = (0.1, 0.2, 0.3, 0.4)
YOLO = TensorSpec("boxes", (1, 7, 126), "int8", 0.01, 0)
AWKWARD = "a \"}}{{ 1 }}'\\ 猫 😀"


def entities(package, form, labels, *outputs):
    decoding = forms.usual(form, tuple(range(len(outputs))))
    described = dataclasses.replace(package.manifest, labels=tuple(labels), outputs=outputs, decoding=decoding)
    return answer_entities.of_model(described, "t")


def result(found):
    return results.Result("n", 7, 3, "op000", "9f", results.Times(*[1.0] * 7), found=found).as_json()


REFUSAL = results.Refusal("n", 7, 1, "no such cut", 0.0).as_json()


def rendered(template, payload, **attributes):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
    environment.filters["to_json"] = lambda told: json.dumps(told, ensure_ascii=False)
    this = types.SimpleNamespace(state="before", attributes=attributes)
    return environment.from_string(template).render(value_json=json.loads(payload), this=this).strip()


def states(made, found):
    payload = result(found)
    return {
        key: rendered(entity["value_template"], payload)
        for key, entity in made.items()
        if entity["platform"] == "sensor"
    }


def seen(*labels):
    return Found(tuple(Object(label, 0.9, BOX) for label in labels))


def test_a_detector_has_a_count_for_each_label_whatever_the_label_says(tiny_package):
    made = entities(tiny_package, Form.YOLOV8, ("cat", "dog", AWKWARD), YOLO)

    assert states(made, seen("dog", "dog", AWKWARD)) == {
        "objects": "3",
        "count cat": "0",
        "count dog": "2",
        f"count {AWKWARD}": "1",
    }
    assert states(made, seen()) == {"objects": "0", "count cat": "0", "count dog": "0", f"count {AWKWARD}": "0"}
    told = json.loads(rendered(made["objects"]["json_attributes_template"], result(seen("dog", "cat", "dog"))))
    assert told["counts"] == {"dog": 2, "cat": 1}
    assert told["objects"][0] == {"label": "dog", "score": 0.9, "box": list(BOX)}
    for entity in made.values():
        assert rendered(entity["value_template"], REFUSAL) in ("", "before")


def test_a_detection_is_an_event_when_a_label_appears_or_leaves(tiny_package):
    """Not one for each frame: Home Assistant would fill with them."""
    template = entities(tiny_package, Form.YOLOV8, ("cat", "dog", "cow"), YOLO)["detection"]["value_template"]

    def event(labels, before):
        text = rendered(template, result(seen(*labels)), labels=before)
        return json.loads(text) if text else None

    first = event(["cat", "cat"], None)
    assert (first["event_type"], first["appeared"], first["counts"]) == ("appeared", ["cat"], {"cat": 2})
    assert event(["cat"], ["cat"]) is None
    second = event(["dog"], ["cat"])
    assert (second["event_type"], second["appeared"], second["left"]) == ("appeared", ["dog"], ["cat"])
    last = event([], ["dog"])
    assert (last["event_type"], last["labels"], last["left"]) == ("left", [], ["dog"])
    assert event([], []) is None


@pytest.mark.parametrize(("count", "announced"), [(12, 12), (90, 90), (101, 0)])
def test_of_many_labels_each_waits_to_be_switched_on_and_of_too_many_none_is_there(tiny_package, count, announced):
    output = dataclasses.replace(YOLO, shape=(1, 4 + count, 126))
    made = entities(tiny_package, Form.YOLOV8, (), output)
    single = [entity for key, entity in made.items() if key.startswith("count ")]

    assert len(single) == announced
    assert {entity.get("enabled_by_default", True) for entity in single} <= {count <= 12}
    assert "enabled_by_default" not in made["objects"]


def test_poses_of_several_people_are_counted(tiny_package):
    made = entities(tiny_package, Form.YOLOV8_POSE, (), dataclasses.replace(YOLO, shape=(1, 56, 126)))
    assert states(made, seen("person", "person")) == {"objects": "2", "count person": "2"}


def test_a_segmenter_has_the_share_of_each_class_and_the_largest_one(tiny_package):
    made = entities(tiny_package, Form.SCORES, ("sky", "road"), TensorSpec("m", (1, 8, 8, 2), "int8", 0.1, 0))
    found = Found(shares=(Share("road", 0.75), Share("sky", 0.25)))

    assert states(made, found) == {"largest": "road", "share sky": "25.0", "share road": "75.0"}
    assert states(made, Found(shares=(Share("sky", 1.0),)))["share road"] == "0"


def test_a_segmenter_that_names_no_classes_has_the_largest_one(tiny_package):
    made = entities(tiny_package, Form.CLASSES, (), TensorSpec("m", (1, 8, 8), "int32", 0.0, 0))
    assert states(made, Found(shares=(Share("8", 0.75), Share("0", 0.25)))) == {"largest": "8"}


def test_a_pose_has_the_mean_score_of_its_keypoints(tiny_package):
    made = entities(tiny_package, Form.POINTS, (), TensorSpec("p", (1, 1, 2, 3), "float32", 0.0, 0))
    found = Found(keypoints=(Keypoint("nose", 0.1, 0.2, 0.5), Keypoint("tail", 0.1, 0.2, 0.25)))

    assert states(made, found) == {"pose": "0.375"}
