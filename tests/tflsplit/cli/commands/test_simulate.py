"""`tflsplit simulate` from the command line."""

import json
import re

import in_bits
import pytest
import tiny_models

TRACE = "time_s,rate_bps\n0,20000000\n20,20000\n40,20000000\n60,20000000\n"


@pytest.fixture
def given(typed, tiny_package, tmp_path):
    return words(typed, tiny_package, tmp_path)


def words(typed, package, folder):
    """A package, profiles whose device is slow, and a trace, for the command."""
    for side, milliseconds in (("edge", (0, 20, 40, 60)), ("cloud", (3, 2, 1, 0))):
        path = folder / f"{side}.json"
        quick = ("--budget", "0.1", "--precision", "0.5")
        assert typed("profile", package.path, "--side", side, "-o", path, *quick).code == 0
        fields = json.loads(path.read_text())
        for place, cut in enumerate(fields["cuts"]):  # stated, so that nothing hangs on how busy this machine is
            for timing in (cut["coding"], *(each["coding"] for each in cut.get("in_bits", ()))):
                timing["samples_s"] = [1e-5] * 5
            cut["run"]["samples_s"] = [milliseconds[place] / 1e3] * 5
        path.write_text(json.dumps(fields))
    (folder / "link.csv").write_text(TRACE)
    profiles = ("--edge", folder / "edge.json", "--cloud", folder / "cloud.json")
    return (package.path, *profiles, "--trace", folder / "link.csv", "--rtt", "1ms")


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
        (("--fps", "1000000"), "frames to play, at most 5,000,000"),
        (("--slow-edge", "-1"), "slow_edge of -1"),
        (("--hedge", "-1"), "hedge of -1"),
        (("--input-codecs", "png"), "write raw, int8 or jpeg:QUALITY"),
    ],
)
def test_wrong_words_are_refused_in_one_line(typed, given, words, said):
    assert said in typed("simulate", *given, *words).refusal()


def test_features_in_fewer_bits_compete_where_they_keep_what_is_asked(typed, tmp_path):
    package = in_bits.write_package(tmp_path / "bits.tflsplit", tiny_models.wide_model())
    given = (*words(typed, package, tmp_path), "--policy", "sciot", "--json")

    def cuts(*more):
        return set(typed("simulate", *given, *more).json()["static"])

    assert cuts() == {"input", "output"}
    assert cuts("--lossy") == {"input:4bit", "output"}  # in 3 bits 97 % of the answers stay, less than is asked
    assert cuts("--lossy", "90%") == {"input:2bit", "output"}


def test_fewer_bits_that_were_not_measured_are_refused(typed, given):
    assert "was not measured; convert it again" in typed("simulate", *given, "--lossy").refusal()


def test_a_trace_that_goes_backwards_is_refused_with_its_line(typed, given, tmp_path):
    (tmp_path / "link.csv").write_text("time_s,rate_bps\n0,1000\n2,1000\n1,1000\n")

    assert "line 4: 1 s comes after 2 s" in typed("simulate", *given).refusal()


def test_a_report_that_is_there_is_kept(typed, given, tmp_path):
    (tmp_path / "r.html").write_text("mine")

    assert "--force" in typed("simulate", *given, "--report", tmp_path / "r.html").refusal()
    assert (tmp_path / "r.html").read_text() == "mine"
