import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import tiny_models
from command_line import run

from tflsplit.api.seeing import describing
from tflsplit.timings import profiles
from tflsplit.timings.profiles import CutTiming, Origin, Profile, Side, Timing

pytest.importorskip("matplotlib")
from tflsplit.report.model import charts, mapping, stretches

JUDGED = (
    mapping.Judged("a", True, True, None),
    mapping.Judged("b", False, False, "<no & never>"),
    mapping.Judged(None, True, False, None),
)
MAPPING = mapping.Mapping(JUDGED, "op000")


def profile(package, side=Side.EDGE, *, origin=Origin.MEASURED, ms=(1.0, 1.01, 0.99)) -> Profile:
    """An operator takes `ms` in each run; nothing is measured at the cut `op001`."""
    timings = []
    for cut in package.cuts:
        operators = (cut.head if side is Side.EDGE else cut.tail).operators
        run_s = Timing(
            tuple(operators * each / 1e3 for each in ms * 2), Origin.ESTIMATED if cut.id == "op001" else origin
        )
        coded_bytes = float(cut.payload_bytes) if side is Side.EDGE else None
        timings.append(CutTiming(cut.id, run_s, Timing((1e-5,) * 5), coded_bytes, 0.01, 1000))
    preprocess = Timing((1e-4,) * 5) if side is Side.EDGE else None
    return Profile(package.digest, side.value, side, "cpu", {"host": "<pi & co>"}, tuple(timings), preprocess)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.labels = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "svg":
            self.labels.append(dict(attrs).get("aria-label"))


def written(package, tmp_path, **options):
    describing.write_report(package, tmp_path / "page.html", force=True, **options)
    return (tmp_path / "page.html").read_text("utf-8")


def test_one_file_that_needs_nothing_else_and_says_what_its_drawings_show(tiny_package, tmp_path):
    text = written(tiny_package, tmp_path, profiles=[profile(tiny_package), profile(tiny_package, Side.CLOUD)])

    assert set(re.findall(r'(?:src|href|xlink:href)\s*=\s*["\']([^"\'#][^"\']*)', text)) == set()
    assert "<script" not in text
    assert "<meta name='viewport' content='width=device-width, initial-scale=1'>" in text
    labels = Tags(text).labels
    assert len(labels) == 3
    assert all(labels)
    assert "3 of 3 operators map" in labels[0]
    assert "&lt;pi &amp; co&gt;" in text
    assert "<pi" not in text


def test_every_cut_stands_there_with_what_it_sends_and_what_was_measured(tiny_package, tmp_path):
    text = written(tiny_package, tmp_path, profiles=[profile(tiny_package)])

    for cut in tiny_package.cuts:
        assert f"<td>{cut.id}</td><td class=number>{cut.payload_bytes}</td>" in text
    assert "<td class=number>≈ 2</td>" in text  # the head of op001, which the profile only estimated
    assert "<td class=number>3</td>" in text


def test_where_no_stretch_stands_out_there_is_no_table_of_them(tiny_package, tmp_path):
    text = written(tiny_package, tmp_path, profiles=[profile(tiny_package, ms=(0.1, 1.0, 9.0))])

    assert "No stretch of operators stands out" in text
    assert "<th>kinds</th>" not in text


def test_without_a_profile_nothing_is_said_of_time(tiny_package, tmp_path):
    text = written(tiny_package, tmp_path)
    assert "Where the time goes" not in text
    assert "What travels, cut by cut" in text


@pytest.mark.parametrize("side", list(Side))
def test_times_are_those_of_the_operators_between_cuts_that_were_timed(tiny_package, side):
    points = stretches.upto(profile(tiny_package, side), tiny_package.cuts)
    found = stretches.between(points)

    assert [each.position for each in points] == [0, 1, 3]
    assert [each.seconds for each in points] == pytest.approx([0.0, 0.001, 0.003])
    assert [(each.start, each.stop) for each in found] == [(0, 1), (1, 3)]
    assert all(each.stands_out for each in found)
    noisy = stretches.upto(profile(tiny_package, side, ms=(0.1, 1.0, 9.0)), tiny_package.cuts)
    assert not any(each.stands_out for each in stretches.between(noisy))
    assert stretches.upto(profile(tiny_package, side, origin=Origin.ESTIMATED), tiny_package.cuts) == []


def test_what_an_accelerator_runs_is_told_apart(tiny_package):
    assert [found for _, found in MAPPING.groups.values()] == [[0], [2], [1]]
    assert (
        "2 of 3 operators map, 1 in one part. Operator 1 ends it: <no & never>; a head up to op000" in MAPPING.in_words
    )
    svg = charts.network(tiny_package.graph, tiny_package.cuts, MAPPING)
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_command_writes_the_page_and_prints_as_before(tiny_package, tmp_path):
    (tmp_path / "edge.json").write_text(profiles.render(profile(tiny_package)))
    page = tmp_path / "my page.html"
    options = ("--html", page, "--profile", tmp_path / "edge.json")
    code, said, _ = run("inspect", tiny_package.path, *options)

    assert (code, "payload B" in said) == (0, True)
    assert "Where the time goes" in page.read_text("utf-8")
    assert (
        run("inspect", tiny_package.path, *options)[2]
        == f"{page} exists already; give another name, or --force to replace it"
    )


def other_package(folder):
    return tiny_models.write_package(folder / "o.tflsplit", tiny_models.residual_model(), labels=("x",))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--profile", "edge.json"), "--profile is for the page of --html; give --html with it"),
        (("--html", "nowhere/page.html"), "nowhere"),
        (("--html", "."), "exists already"),
        (("--html", "page.html", "--profile", "none.json"), "none.json"),
        (("--html", "page.html", "--profile", "damaged.json"), "damaged.json"),
        (("--html", "page.html", "--profile", "other.json"), "other.json: measured for package"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_nothing_is_written(
    tiny_package, tmp_path, monkeypatch, words, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.json").write_text('{"schema"')
    (tmp_path / "other.json").write_text(profiles.render(profile(other_package(tmp_path))))
    code, said, problem = run("inspect", tiny_package.path, *words)

    assert (code, said) == (1, "")
    assert expected in problem
    assert "\n" not in problem
    assert not (tmp_path / "page.html").exists()


def test_a_bundle_has_not_the_whole_model(tiny_package, tmp_path):
    assert run("bundle", tiny_package.path, "--role", "edge", "--cut", "op000", "-o", tmp_path / "b.tflsplit")[0] == 0
    said = run("inspect", tmp_path / "b.tflsplit", "--html", tmp_path / "page.html")[2]

    assert "a bundle does not hold the whole model" in said
    assert not (tmp_path / "page.html").exists()
