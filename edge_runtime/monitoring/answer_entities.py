"""What Home Assistant shows of a model's answers: label and score, numbers, counts of objects with an event, shares of
classes, keypoints; by what its package says that the outputs are.

All read the results' topic with a template. A text that is empty leaves a sensor as it is: for a refusal, and for an
answer of the model before or behind this one.
"""

import json
from collections.abc import Iterator, Sequence

from broker.messages import results
from tflsplit.decoding import recognition
from tflsplit.decoding.forms import Task
from tflsplit.graph.meanings import Meaning
from tflsplit.package import outputs
from tflsplit.package.manifest import Manifest

Entities = dict[str, dict[str, object]]

_WITH = "{%% if value_json.%s is defined %%}%s{%% endif %%}"
_LABEL = "{{ this.state if value_json.label is not defined else value_json.label }}"
# Of labels that are independent of each other all that hold, or none. A state has 255 characters at most.
_LABELS = (
    "{{ this.state if value_json.top is not defined else "
    "(value_json.top | map(attribute='label') | join(', '))[:255] or 'none' }}"
)
_LARGEST = "{{ this.state if value_json.shares is not defined else (value_json.shares | first).label }}"
_SCORE = _WITH % ("score", "{{ value_json.score }}")
_VALUE = "{%% if value_json['values'] %%}{{ (value_json['values'].values() | list)[%d][%d] }}{%% endif %%}"
_OBJECTS = _WITH % ("objects", "{{ value_json.objects | length }}")
_COUNT = "{{ value_json.counts.get(%s, 0) }}"
_SHARE = (
    "{{ 100 * (value_json.shares | selectattr('label', 'equalto', %s) | map(attribute='share') | first | default(0)) }}"
)
_KEYPOINTS = _WITH % (
    "keypoints",
    "{{ (value_json.keypoints | map(attribute='score') | sum) / (value_json.keypoints | length) }}",
)
# An event where the labels that are seen are others than at the last event, which Home Assistant remembers.
_EVENT = _WITH % (
    "counts",
    "{% set seen = value_json.counts | list %}{% set before = this.attributes.labels | default([], true) %}"
    "{% set came = seen | reject('in', before) | list %}{% set left = before | reject('in', seen) | list %}"
    "{% if came or left %}{{ {'event_type': 'appeared' if came else 'left', 'labels': seen, 'appeared': came, "
    "'left': left, 'counts': value_json.counts, 'sequence': value_json.sequence} | to_json }}{% endif %}",
)
_WHERE = f"'answered_by': 'device' if value_json.get('cut') == '{results.WHOLE}' else 'cloud'"

_NUMBER = {"state_class": "measurement", "suggested_display_precision": 2}
_WHOLE_NUMBER = {"state_class": "measurement", "suggested_display_precision": 0}
_MOST_NUMBERS = 8  # of a model without classes; more sensors than that nobody looks at
# With more labels than that, each one's own sensor waits for a person who switches it on; and how many are announced.
_MOST_SHOWN, _MOST_ANNOUNCED = 12, 100


def of_model(described: Manifest, topic: str) -> Entities:
    """The entities by name, without what says when they are available."""
    task = described.decoding.task if described.decoding is not None else None
    if described.decoding is not None and described.decoding.form.finds_objects:
        return _detector(described, topic)
    if task is Task.SEGMENT:
        return _segmenter(described, topic)
    if task is Task.POSE:
        pose = _sensor(topic, "Pose", _KEYPOINTS) | _NUMBER | _attributes(topic, "keypoints")
        return {"pose": pose}
    classes = next((meaning for meaning in outputs.told(described) if meaning is not Meaning.VALUES), None)
    if classes is None:
        return {
            f"value{place}": _sensor(topic, name, _VALUE % where) | _NUMBER | _attributes(topic)
            for place, (name, where) in enumerate(_numbers(described))
        }
    label = _LABELS if classes is Meaning.MULTI_LABEL else _LABEL
    return {
        "label": _sensor(topic, "Label", label) | _attributes(topic),
        "score": _sensor(topic, "Score", _SCORE) | _NUMBER,
    }


def _detector(described: Manifest, topic: str) -> Entities:
    event: dict[str, object] = {
        "platform": "event",
        "name": "Detection",
        "state_topic": topic,
        "event_types": ["appeared", "left"],
        "value_template": _EVENT,
    }
    seen = _attributes(topic, "counts", "objects")
    counted = _by_label(described, topic, ("count", "counts"), _COUNT)
    return {
        "objects": _sensor(topic, "Objects", _OBJECTS) | _WHOLE_NUMBER | seen,
        "detection": event,
        **{key: entity | _WHOLE_NUMBER for key, entity in counted},
    }


def _segmenter(described: Manifest, topic: str) -> Entities:
    share = {"state_class": "measurement", "suggested_display_precision": 1, "unit_of_measurement": "%"}
    return {
        "largest": _sensor(topic, "Largest class", _LARGEST) | _attributes(topic, "shares"),
        **{key: entity | share for key, entity in _by_label(described, topic, ("share", "shares"), _SHARE)},
    }


def _by_label(
    described: Manifest, topic: str, what: tuple[str, str], template: str
) -> Iterator[tuple[str, dict[str, object]]]:
    """An entity for each label. Its name is the label, and its key stays that of this label in another model. `what` it
    tells, and the result's key for that."""
    labels = list(dict.fromkeys(recognition.labels(described.decoding, described.results, described.labels)))
    if len(labels) > _MOST_ANNOUNCED:
        return
    shown = {} if len(labels) <= _MOST_SHOWN else {"enabled_by_default": False}
    for label in labels:
        # Text in a template is written as in JSON; what a label says is never read as a template.
        made = _WITH % (what[1], template % json.dumps(label, ensure_ascii=False))
        name = f"Class {label}" if label.isdecimal() else label
        yield f"{what[0]} {label}", _sensor(topic, name, made) | shown


def _numbers(described: Manifest) -> Sequence[tuple[str, tuple[int, int]]]:
    """Name and place of each number of the results."""
    shown = [spec for spec in described.results if spec.elements <= outputs.MOST_VALUES]
    places = [(output, place) for output, spec in enumerate(shown) for place in range(spec.elements)]
    if len(places) > _MOST_NUMBERS:
        return []
    return [(f"Value {number}" if len(places) > 1 else "Value", place) for number, place in enumerate(places, 1)]


def _sensor(topic: str, name: str, template: str) -> dict[str, object]:
    return {"platform": "sensor", "name": name, "state_topic": topic, "value_template": template}


def _attributes(topic: str, *keys: str) -> dict[str, object]:
    told = ", ".join(f"'{key}': value_json.get('{key}')" for key in keys or ("score", "top"))
    template = f"{{{{ {{{told}, 'error': value_json.get('error'), {_WHERE}}} | to_json }}}}"
    return {"json_attributes_topic": topic, "json_attributes_template": template}
