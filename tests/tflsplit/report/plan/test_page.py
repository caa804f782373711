import re
from xml.etree import ElementTree

import pytest
from invented_plans import profile

from tflsplit.planning import decision, pipeline, scenario
from tflsplit.timings import links, profiles
from tflsplit.timings.profiles import Origin, Side

pytest.importorskip("matplotlib")
from tflsplit.report import strip
from tflsplit.report.plan import charts, network, page


@pytest.fixture
def outcome(tiny_package) -> pipeline.Outcome:
    link = links.Link("bench", Origin.STATED, bandwidth_bps=1e6, rtt_s=0.02)
    return pipeline.make(
        tiny_package,
        profile(tiny_package, Side.EDGE, 0.010),
        profile(tiny_package, Side.CLOUD, 0.001),
        scenario.Scenario(link),
        decision.Goal(),
    )


def test_the_page_needs_nothing_from_the_network(outcome):
    text = page.render(outcome)
    addresses = set(re.findall(r'(?:src|href|xlink:href)\s*=\s*["\']([^"\'#][^"\']*)', text))

    assert addresses == set()
    assert "<script" not in text
    assert "@import" not in text


def test_the_page_names_the_pick_and_every_candidate(outcome):
    text = page.render(outcome)

    assert outcome.decision.choice is not None
    assert f"<tr class='choice'><td>{outcome.decision.choice.id}</td>" in text
    for judged in outcome.decision.judged:
        assert f"<td>{judged.id}</td>" in text


def test_what_a_profile_says_of_itself_is_escaped(outcome):
    assert "&lt;invented &amp; fast&gt;" in page.render(outcome)


@pytest.mark.parametrize(
    "chart",
    [
        lambda outcome: charts.latency_parts(outcome.decision),
        lambda outcome: charts.pareto(outcome.decision),
        charts.best_map,
        charts.payloads,
        network.drawing,
    ],
)
def test_each_chart_is_one_well_formed_drawing(outcome, chart):
    svg = chart(outcome)

    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_same_plan_gives_the_same_page(outcome):
    assert page.render(outcome) == page.render(outcome)


def test_the_drawing_shows_one_arc_for_a_tensor_that_skips_an_operator(outcome):
    assert strip._skips(outcome.package.graph) == [(0, 2)]


def test_a_measurement_read_back_is_the_same(tiny_package, tmp_path):
    made = profile(tiny_package, Side.EDGE, 0.01)
    (tmp_path / "edge.json").write_text(profiles.render(made))

    assert profiles.read(tmp_path / "edge.json") == made
