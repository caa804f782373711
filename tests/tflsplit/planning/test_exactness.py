"""Plans between machines whose kernels differ: what is exact, what is preferred, and what is left out."""

import dataclasses

import invented
import kernel_classes
import pytest
from kernel_classes import HERE

from tflsplit.kernels.heads import Standing
from tflsplit.planning import candidates, decision, exactness, report_text
from tflsplit.planning.constraints import Constraints
from tflsplit.planning.decision import Goal, Objective
from tflsplit.planning.scenario import Scenario
from tflsplit.planning.shortlist import Shortlist
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin

CUTS = invented.cuts((30_000, 2_000, 1_990, 20_000, 1_985))
EDGE = invented.edge(CUTS, (0, 10, 10, 60, 100))
CLOUD = invented.cloud(CUTS, (20, 10, 10, 8, 0))
JUDGED = {cut.id: (Standing.EXACT, "") for cut in CUTS[:2]} | {
    cut.id: (Standing.INEXACT, "SOFTMAX/int8 may differ by a step or more") for cut in CUTS[2:]
}
SCENARIO = Scenario(Link("test", Origin.STATED, 8e6, 0.0))


def decide(judged=JUDGED, **goal):
    found = candidates.gather(CUTS, EDGE, CLOUD, judged=judged)
    made = decision.decide(found, SCENARIO, Goal(**goal))
    assert Shortlist(found).pick(SCENARIO, made.goal).candidate.id == made.choice.id
    return made


def test_of_near_equals_the_exact_one_is_picked_and_the_plan_says_so():
    preferring, indifferent = decide(), decide(prefers_exact=False)

    assert (preferring.choice.id, indifferent.choice.id) == ("op000", "op001")
    remark = report_text.exact_remark(preferring)
    assert remark.startswith("op000 is exact and was preferred to op001, which is ")
    assert remark.endswith(" better and not exact: SOFTMAX/int8 may differ by a step or more")
    assert report_text.exact_remark(indifferent) == ""
    left = next(entry for entry in preferring.judged if entry.id == "op001")
    assert "less than 2%, and inexact: SOFTMAX/int8" in report_text.why_not(left, preferring)
    assert report_text.short_why_not(left, preferring) == "inexact, and gains less than 2%"


def test_what_is_better_by_more_is_picked_and_remarked_on():
    """The head of `output` sends less by far than anything exact."""
    far = {cut.id: JUDGED["output"] for cut in CUTS} | {"input": (Standing.EXACT, "")}
    made = decide(far, objective=Objective.BYTES)

    assert made.choice.id == "output"
    assert report_text.exact_remark(made) == "output is not exact: SOFTMAX/int8 may differ by a step or more"


def test_what_is_not_exact_is_out_where_that_is_required():
    made = decide(objective=Objective.BYTES, constraints=Constraints(exact=True))

    assert made.choice.id == "op000"
    assert [entry.id for entry in made.judged if entry.is_feasible] == ["input", "op000"]
    assert report_text.why_not(made.judged[2], made) == "inexact: SOFTMAX/int8 may differ by a step or more"
    said = report_text.as_json(made, {})
    assert said["constraints"] == {"exact": True}
    assert [each["exact"] for each in said["candidates"]] == [True, True, False, False, False]


def profiles(package, classes, *, accelerator="cpu", runtimes=("", "")):
    made = []
    for make, kernel_class, runtime in zip((invented.edge, invented.cloud), classes, runtimes, strict=True):
        found = make(package.cuts, [1.0] * len(package.cuts))
        made.append(dataclasses.replace(found, kernel_class=kernel_class, machine={"runtime": runtime}))
    return dataclasses.replace(made[0], accelerator=accelerator), made[1]


@pytest.mark.parametrize(
    ("classes", "more", "standing", "why"),
    [
        ((kernel_classes.unlike("SOFTMAX/int8"), HERE), {}, Standing.EXACT, ""),
        ((kernel_classes.unlike("ADD/int8"), HERE), {}, Standing.INEXACT, "ADD/int8 may differ by a step or more"),
        ((HERE, HERE), {"accelerator": "coral"}, Standing.INEXACT, "coral rounds in its own way"),
        ((HERE, HERE), {"accelerator": "cpu?cores=0"}, Standing.EXACT, ""),
        ((None, HERE), {"runtimes": ("ai-edge-litert 2.3.0",) * 2}, Standing.EXACT, ""),
        (
            (None, HERE),
            {"runtimes": ("tflite-runtime 2.14.0", "ai-edge-litert 2.3.0")},
            Standing.INEXACT,
            "ADD/int8 may",
        ),
        ((None, None), {}, Standing.UNKNOWN, "the profiles tell no kernel class, and ADD/int8 is not exact with"),
    ],
)
def test_cuts_are_judged_by_the_classes_of_both_profiles(tiny_package, classes, more, standing, why):
    found = exactness.of_cuts(tiny_package, *profiles(tiny_package, classes, **more))

    assert found["input"] == (Standing.EXACT, "")
    for cut in ("op000", "op001", "output"):
        assert found[cut][0] is standing
        assert found[cut][1].startswith(why)


def test_a_jpeg_is_not_exact():
    spec = dataclasses.replace(CUTS[0].boundary[0], shape=(1, 100, 100, 3))
    pictured = (dataclasses.replace(CUTS[0], boundary=(spec,)), *CUTS[1:])
    edge = invented.edge(CUTS, (0, 10, 10, 60, 100), preprocess=1.0)
    jpeg, raw, stored, *_ = candidates.gather(pictured, edge, CLOUD, judged=JUDGED)

    assert [each.is_exact for each in (jpeg, raw, stored)] == [False, True, True]
