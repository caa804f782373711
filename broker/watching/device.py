"""One device, as its messages tell of it. Pure: messages in, state out; clocks come in as arguments.

What a device says of itself comes from a stranger: texts are cut to a length, numbers are numbers, and what is neither
is left out.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from broker.messages import deduplication, presence, results, updates
from broker.messages.telemetry import Telemetry
from broker.watching.history import History
from tflsplit import errors, strict_json, text
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Metric

MOST_TEXT = 128
# Telemetry that is older than this does not describe the present: it comes every ten seconds by default.
FRESH_S = 90.0
_MOST_FOUND = 50
_FEW = 3  # kinds of objects, or shares, where there is room for one label
_MEAN_OF = 8  # how many of the last results the parts of a frame's time are a mean of, weighing the later ones more


# The rest of a birth is not for people, and ten thousand of them are kept.
_OF_BIRTH = (
    *(
        "name",
        "package",
        "cut",
        "layer",
        "payload_bytes",
        "delivery",
        "adapts",
        "pictures",
        "accelerator",
        "software",
        "group",
    ),
)


class Device:
    """Filled by the methods named after messages; `at_s` is when one came, by a monotonic clock. All are heard since
    `began_s`."""

    def __init__(self, name: str, began_s: float) -> None:
        self.name = name
        self.status: presence.Status | None = None
        self.birth: Mapping[str, Any] = {}
        self.telemetry: Telemetry | None = None
        self.telemetry_at_s = 0.0
        self.answer: results.Result | None = None
        self.answer_at_s = 0.0
        self.answers = 0
        self.refusals: Counter[str] = Counter()
        self.update: updates.Report | None = None
        self.parts_ms: dict[str, float] = {}
        self.history = History(began_s)
        self._seen = deduplication.OfDevice()

    @property
    def is_online(self) -> bool:
        return self.status is not None and self.status.state == "online"

    def take_birth(self, payload: bytes) -> None:
        """FrameError for what is no JSON object."""
        try:
            told = strict_json.parse_object(payload)
        except (ValueError, RecursionError) as problem:
            raise errors.FrameError(f"birth is {payload[:60]!r}: {problem!r:.100}") from problem
        self.birth = {name: told[name] for name in _OF_BIRTH if name in told}

    def take_telemetry(self, told: Telemetry, at_s: float) -> None:
        self.telemetry, self.telemetry_at_s = told, at_s
        self.history.add(at_s, latency_ms=told.latency_ms.get("p50"))

    def take_answer(self, answer: results.Result | results.Refusal, at_s: float) -> bool:
        """Whether it is a result that did not come before: a cloud says again what a device asks for again."""
        if isinstance(answer, results.Refusal):
            self.refusals[text_of(answer.refused) or "other"] += 1
            return False
        if not self._seen.is_first(answer.boot, answer.sequence):
            return False
        self.answer, self.answer_at_s = answer, at_s
        self.answers += 1
        self.history.add(at_s, answers=1)
        for part in ("head", "queue", "decode", "tail"):
            last = getattr(answer.times, f"{part}_ms")
            self.parts_ms[part] = self.parts_ms.get(part, last) + (last - self.parts_ms.get(part, last)) / _MEAN_OF
        return True

    def problem(self, now_s: float) -> str | None:
        """What a person should look at, in words; None where all is well as far as it tells."""
        if self.status is None:
            return "never said that it is there"
        if not self.is_online:
            return "connection lost" if self.status.reason == "lost" else None
        told = self._fresh(now_s)
        if told is not None and told.state != "ok":
            return told.why or told.state
        accelerator = self._accelerator
        if accelerator.get("reason"):
            return text_of(accelerator["reason"])
        if self.update is not None and self.update.state in (updates.State.ROLLED_BACK, updates.State.REFUSED):
            return f"update {self.update.state.value}: {self.update.reason or 'no reason told'}"[:MOST_TEXT]
        return None

    def as_json(self, now_s: float) -> dict[str, object]:
        """All that is known; None or absent is what the device does not tell."""
        return self.described() | self.performing(now_s) | {"problem": self.problem(now_s)}

    def described(self) -> dict[str, object]:
        """What retained messages tell."""
        born, software, status = self.birth, _object(self.birth.get("software")), self.status
        return {
            "device": self.name,
            "state": "unknown" if status is None else status.state,
            "reason": None if status is None else text_of(status.reason),
            "since_ms": None if status is None else status.since_ms,
            "last_seen_ms": status.seen_ms if status is not None and status.state == "offline" else None,
            "model": text_of(born.get("name")),
            "package": text_of(born.get("package")),
            "cut": text_of(born.get("cut")),
            "layer": text_of(born.get("layer")),
            "group": text_of(born.get("group")),
            "payload_bytes": finite_or_none(born.get("payload_bytes")),
            "delivery": text_of(born.get("delivery")),
            "adapts": bool(born.get("adapts")),
            "shares_pictures": bool(born.get("pictures")),
            "accelerator": text_of(self._accelerator.get("name")),
            "runs_on": text_of(self._accelerator.get("runs_on")),
            "version": text_of(software.get("version")),
            "certificate_ends_s": finite_or_none(software.get("certificate_ends_s")),
        }

    def performing(self, now_s: float) -> dict[str, object]:
        """What live messages tell."""
        told, answer = self._fresh(now_s), self.answer
        moved = None if told is None or told.moved is None else told.moved
        return {
            "fps": self._fps(now_s),
            "latency_ms": dict(told.latency_ms) if told else {},
            "parts_ms": self._parts(told),
            "label": None if answer is None else text_of(answer.label),
            "score": None if answer is None else answer.score,
            "values": None if answer is None or answer.top else _few(answer.values),
            **_found(answer),
            "found": _found_in_words(answer),
            "answered_s_ago": None if answer is None else round(now_s - self.answer_at_s, 1),
            "exact": None if answer is None else answer.is_exact,
            "answers": self.answers,
            "refused": dict(self.refusals),
            "telemetry_s_ago": None if self.telemetry is None else round(now_s - self.telemetry_at_s, 1),
            "health": None if told is None else told.state,
            "drops": self._drops(told),
            "resent": _metric(told, catalogue.RESENT),
            "spool": self._spool(told),
            "link": {
                "bits_per_second": _metric(told, catalogue.LINK_BPS),
                "round_trip_s": _metric(told, catalogue.LINK_RTT),
                "reconnects": _metric(told, catalogue.BROKER_RECONNECTS),
            },
            "temperature_c": _metric(told, catalogue.TEMPERATURE),
            "moved": None if moved is None else {"before": moved.before, "after": moved.after, "reason": moved.reason},
            "update": self._update(),
        }

    def charts(self, now_s: float) -> dict[str, object]:
        """The last hour in steps of ten seconds, the oldest first."""
        return {"fps_hour": self.history.rates(now_s), "latency_hour": self.history.latencies_ms(now_s)}

    @property
    def _accelerator(self) -> Mapping[str, Any]:
        return _object(self.birth.get("accelerator"))

    def _fresh(self, now_s: float) -> Telemetry | None:
        return self.telemetry if self.telemetry is not None and now_s - self.telemetry_at_s <= FRESH_S else None

    def _fps(self, now_s: float) -> float | None:
        if self.answer is not None and now_s - self.answer_at_s <= FRESH_S:
            return round(self.history.rate(now_s), 2)
        told = self._fresh(now_s)
        return None if told is None else told.fps

    def _parts(self, told: Telemetry | None) -> dict[str, float]:
        """Means of the last results; `wire` is what the median latency has beside them."""
        parts = {name: round(value, 3) for name, value in self.parts_ms.items()}
        p50 = told.latency_ms.get("p50") if told else None
        if parts and p50 is not None:
            parts["wire"] = round(max(0.0, p50 - sum(self.parts_ms.values())), 3)
        return parts

    def _drops(self, told: Telemetry | None) -> dict[str, float] | None:
        """What was given up, by reason. Answers to an earlier run are not: clouds say results again when they start."""
        if told is None:
            return None
        found: Counter[str] = Counter()
        for family in told.families:
            if family.metric in (catalogue.DROPPED, catalogue.BROKER_DROPPED):
                found.update({sample.labels[0]: _number(sample.value) for sample in family.samples})
        return {why: count for why, count in found.items() if count and why != results.ANOTHER_RUN}

    def _spool(self, told: Telemetry | None) -> dict[str, object] | None:
        frames = _metric(told, catalogue.SPOOL_FRAMES)
        if frames is None:
            return None
        size, limit = _metric(told, catalogue.SPOOL_BYTES), _metric(told, catalogue.SPOOL_LIMIT)
        return {
            "frames": frames,
            "bytes": size,
            "limit_bytes": limit,
            "full": bool(_metric(told, catalogue.SPOOL_FULL)),
        }

    def _update(self) -> dict[str, object] | None:
        if self.update is None:
            return None
        return {"state": self.update.state.value, "percent": self.update.percent, "reason": text_of(self.update.reason)}


def text_of(told: object) -> str | None:
    """A text of at most `MOST_TEXT` characters; None for anything else."""
    return told[:MOST_TEXT] if isinstance(told, str) else None


def finite_or_none(told: object) -> float | None:
    if isinstance(told, int | float) and not isinstance(told, bool) and math.isfinite(told):
        return told
    return None


def _few(values: tuple[tuple[str, tuple[float, ...]], ...]) -> dict[str, list[float]]:
    """As much of a regression's outputs as a person reads."""
    return {name[:MOST_TEXT]: list(numbers[:8]) for name, numbers in values[:4]}


def _found(answer: results.Result | None) -> dict[str, object]:
    """The objects, shares or keypoints of a result, as many as a person looks at; labels are cut to a length."""
    if answer is None or answer.found is None:
        return {}
    told = answer.found.as_json()
    return {
        kind: [{**each, "label": text_of(each.get("label"))} for each in entries[:_MOST_FOUND]]
        for kind, entries in told.items()
        if isinstance(entries, list)
    }


def _found_in_words(answer: results.Result | None) -> str | None:
    """As short as a label: how many objects of each kind, or the largest shares. None where the model finds no such."""
    found = None if answer is None else answer.found
    if found is None:
        return None
    if found.objects is not None:
        words = [f"{count} {label}" for label, count in found.counts.items()] or ["nothing"]
    elif found.shares is not None:
        words = [f"{each.label} {each.share:.0%}" for each in found.shares]
    else:
        words = [text.counted(len(found.keypoints or ()), "keypoint")]
    return text_of(", ".join(words[:_FEW]) + (" …" if len(words) > _FEW else ""))


def _object(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}


def _metric(told: Telemetry | None, wanted: Metric) -> float | None:
    """The value of a metric without labels."""
    families = told.families if told else ()
    return next((_number(each.samples[0].value) for each in families if each.metric is wanted and each.samples), None)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0.0
