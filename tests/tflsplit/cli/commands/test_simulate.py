"""`tflsplit simulate` from the command line."""

import json
import re

import pytest

TRACE = "time_s,rate_bps\n0,20000000\n20,20000\n40,20000000\n60,20000000\n"


@pytest.fixture
def given(typed, tiny_package, tmp_path):
    """A package, profiles whose device is slow, and a trace: words for the command."""
    for side, milliseconds in (("edge", (0, 20, 40, 60)), ("cloud", (3, 2, 1, 0))):
        path = tmp_path / f"{side}.json"
        assert (
            typed(
                "profile", tiny_package.path, "--side", side, "-o", path, "--budget", "0.1", "--precision", "0.5"
            ).code
            == 0
        )
        fields = json.loads(path.read_text())
        for place, cut in enumerate(fields["cuts"]):  # stated, so that nothing hangs on how busy this machine is
            cut["run"]["samples_s"], cut["coding"]["samples_s"] = [milliseconds[place] / 1e3] * 5, [1e-5] * 5
        path.write_text(json.dumps(fields))
    (tmp_path / "link.csv").write_text(TRACE)
    profiles = ("--edge", tmp_path / "edge.json", "--cloud", tmp_path / "cloud.json")
    return (tiny_package.path, *profiles, "--trace", tmp_path / "link.csv", "--rtt", "1ms")


def test_it_prints_every_policy_and_writes_its_page(typed, given, tmp_path):
    done = typed("simulate", *given, "--report", tmp_path / "r.html")

    assert done.code == 0, done.err
    assert "moving the cut: " in done.out
    for name in ("oracle", "best_static", "planned_static", "adaptive", "adaptive_no_probes", "sciot", "linucb"):
        assert re.search(rf"^{name} ", done.out, re.MULTILINE)
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 2
    assert "<script" not in page


def test_its_json_has_what_a_program_needs(typed, given):
    fields = typed("simulate", *given, "--json", "--policy", "sciot").json()

    assert list(fields["policies"]) == ["oracle", "best_static", "planned_static", "adaptive", "sciot"]
    assert fields["trace"] == "link"
    assert fields["adaptive_over_oracle"] >= 0.99
    ours = fields["policies"]["adaptive"]
    assert set(ours) >= {"mean_ms", "p50_ms", "p95_ms", "p99_ms", "cut_share", "lost", "wrong", "bytes", "hedged"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "best"), "policy 'best'"),
        (("--fps", "0"), "fps of 0"),
        (("--slow-edge", "-1"), "slow_edge of -1"),
        (("--hedge", "-1"), "hedge of -1"),
        (("--input-codecs", "png"), "write raw, int8 or jpeg:QUALITY"),
    ],
)
def test_wrong_words_are_refused_in_one_line(typed, given, words, said):
    assert said in typed("simulate", *given, *words).refusal()


def test_a_trace_that_goes_backwards_is_refused_with_its_line(typed, given, tmp_path):
    (tmp_path / "link.csv").write_text("time_s,rate_bps\n0,1000\n2,1000\n1,1000\n")

    assert "line 4: 1 s comes after 2 s" in typed("simulate", *given).refusal()


def test_a_report_that_is_there_is_kept(typed, given, tmp_path):
    (tmp_path / "r.html").write_text("mine")

    assert "--force" in typed("simulate", *given, "--report", tmp_path / "r.html").refusal()
    assert (tmp_path / "r.html").read_text() == "mine"
