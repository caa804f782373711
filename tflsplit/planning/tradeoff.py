"""What a gate at the edge would send, take and get right, for each SCORE, from answers to samples. Pure.

The device computes the whole model for each frame. Of doubtful ones, and of the audited share of the sure ones, the
boundary of the cut goes to the cloud; of the others the outputs alone do, as at the edge.
"""

import math
from collections.abc import Sequence

from tflsplit import errors
from tflsplit.planning import decision, queueing
from tflsplit.planning.cost import Cost
from tflsplit.planning.decision import Decision
from tflsplit.planning.scenario import Scenario
from tflsplit.timings import distribution
from tflsplit.values.classes import dataclass

STEPS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_MOST_DIGITS = 17  # of a float64


@dataclass(frozen=True, slots=True)
class Answered:
    """One sample: how sure the device is, whose class is which, and the true one, None where that is not known."""

    sureness: float
    here: str | None
    there: str | None
    truth: str | None


@dataclass(frozen=True, slots=True)
class Point:
    """Shares are of all frames: `here` of those that the device answers, `sent` of those whose boundary travels, audits
    among them, and `right` of those whose answer is true, or is the cloud's where no truth is known. Bytes are those on
    the wire, both ways. `is_useful` says that no lower SCORE gets as many right."""

    score: float
    here: float
    sent: float
    bytes_per_frame: float
    mean_s: float
    right: float
    is_useful: bool

    def as_json(self) -> dict[str, object]:
        mean_ms = round(self.mean_s * 1e3, 4) if math.isfinite(self.mean_s) else None
        shares = {name: round(getattr(self, name), 6) for name in ("here", "sent")}
        costs = {"bytes_per_frame": round(self.bytes_per_frame, 1), "mean_ms": mean_ms}
        return {"score": self.score, **shares, **costs, "right": round(self.right, 6), "useful": self.is_useful}


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """`points` by growing score: `STEPS`, and each other one that is useful. `cut` is the candidate that is sent."""

    cut: str
    samples: int
    is_labelled: bool
    has_other_tail: bool
    audit: float
    points: tuple[Point, ...]
    remarks: tuple[str, ...] = ()

    @property
    def measure(self) -> str:
        """What `Point.right` is."""
        return "accuracy" if self.is_labelled else "agreement"

    def as_json(self) -> dict[str, object]:
        return {
            "cut": self.cut,
            "samples": self.samples,
            "measure": self.measure,
            "tail": "float32" if self.has_other_tail else "int8",
            "audit": self.audit,
            "remarks": list(self.remarks),
            "points": [point.as_json() for point in self.points],
        }


@dataclass(frozen=True, slots=True)
class Ways:
    """What a frame costs that ends here, of which the outputs travel, and one that is sent on at a cut."""

    ends: Cost
    goes: Cost
    scenario: Scenario

    def bytes_per_frame(self, sent: float) -> float:
        return sent * self.goes.bytes_per_frame + (1 - sent) * self.ends.bytes_per_frame

    def mean_s(self, doubtful: float, sent: float) -> float:
        """From capture to the answer that counts. Doubtful frames come at random, so link and cloud see them so."""
        work, go = self.scenario.workload, self.goes.parts
        computing = distribution.total(self.ends.parts[name] for name in ("preprocess", "reload", "head"))
        waits = [distribution.NOTHING] * 3
        if work.rate_fps is not None:
            sent_fps, at_random = work.rate_fps * sent, queueing.POISSON
            service = distribution.total((computing, distribution.sometimes(go["encode"].mean_s, sent)))
            waits = [
                queueing.wait(work.rate_fps, service, arrivals=queueing.PACED),
                queueing.wait(sent_fps, go["wire"], arrivals=at_random),
                queueing.wait(
                    sent_fps * work.devices, self.goes.candidate.cloud, arrivals=at_random, workers=work.workers
                ),
            ]
        at_edge, *on_the_way = (wait.mean_s for wait in waits)
        if not doubtful:  # nobody waits for what is only audited, however long it takes
            return computing.mean_s + at_edge
        sending_s = sum(go[name].mean_s for name in ("encode", "wire", "broker", "decode", "tail", "result"))
        return computing.mean_s + at_edge + doubtful * (sending_s + sum(on_the_way))


def ways(decided: Decision, scenario: Scenario, served: Sequence[str]) -> Ways:
    """At the pick, or, where a gate cannot send at it, at the best candidate behind which a cloud has something to
    compute, without loss; `served` are the cuts that have a tail. SettingsError where there is none, or where the whole
    model was not timed on the device."""
    ends = next((each.cost for each in decided.judged if not each.cost.candidate.cut.tail.operators), None)
    if ends is None or ends.candidate.missing:
        problem = "it is no candidate" if ends is None else ends.candidate.missing
        raise errors.SettingsError(f"gate samples: a gate computes the whole model on the device: {problem}")
    feasible = decision.rank([each.cost for each in decided.judged if each.is_feasible], decided.goal)
    # A stable sort: the pick, which may go before a better one that is not exact, and then the others by their rank.
    choice = None if decided.choice is None else decided.choice.id
    for cost in sorted(feasible, key=lambda each: each.candidate.id != choice):
        candidate = cost.candidate
        has_loss = candidate.bits is not None or candidate.input_codec not in (None, "raw", "int8")
        if candidate.cut.tail.operators and candidate.cut.id in served and not has_loss:
            return Ways(ends, cost, scenario)
    raise errors.SettingsError(
        "gate samples: no candidate that meets the constraints leaves the cloud anything to compute, without loss; "
        "loosen them, or leave the gate out"
    )


def judge(
    answers: Sequence[Answered], found: Ways, audit: float, *, has_other_tail: bool, remarks: Sequence[str] = ()
) -> Tradeoff:
    """Of answers to samples, one at least. Truths count where every sample has one."""
    is_labelled = all(each.truth is not None for each in answers)
    values = sorted({each.sureness for each in answers})
    scores = {_between(low, high) for low, high in zip([0.0, *values], [*values, 1.0], strict=True) if low < high}
    points, best = [], -1.0
    for score in sorted({*STEPS, *(score for score in scores if 0 < score < 1)}):
        doubtful = sum(each.sureness <= score for each in answers) / len(answers)
        right = sum(_is_right(each, score, is_labelled=is_labelled) for each in answers) / len(answers)
        is_useful, best = right > best, max(best, right)
        if is_useful or score in STEPS:
            sent = doubtful + audit * (1 - doubtful)
            costs = found.bytes_per_frame(sent), found.mean_s(doubtful, sent)
            points.append(Point(score, 1 - doubtful, sent, *costs, right, is_useful))
    return Tradeoff(
        found.goes.candidate.id, len(answers), is_labelled, has_other_tail, audit, tuple(points), tuple(remarks)
    )


def _is_right(answer: Answered, score: float, *, is_labelled: bool) -> bool:
    counts = answer.here if answer.sureness > score else answer.there
    return counts == (answer.truth if is_labelled else answer.there)


def _between(low: float, high: float) -> float:
    """The shortest number from `low` to below `high`: as a SCORE it sends what `low` itself would."""
    for digits in range(1, _MOST_DIGITS):
        short: float = round(math.ceil(low * 10.0**digits) / 10.0**digits, digits)
        if low <= short < high and short > 0:
            return short
    return low
