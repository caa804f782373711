"""Heads of a package compiled by the stand-in: what is kept, what is remembered, and that failures stop nothing."""

import dataclasses
import pathlib

import pytest

from converters.edgetpu import cache, heads, rules
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.package import reading

SETTINGS = heads.Settings(timeout_s=20.0)


@pytest.fixture
def cuts(tiny_package):
    """op000, op001 and the whole model."""
    return heads.default_cuts(tiny_package)


def reopened(made):
    """As anyone who gets the directory sees it; opening checks every digest."""
    opened = reading.open_package(made.path)
    assert opened == made
    return opened


def test_without_asking_the_heads_of_pairs_and_the_whole_model_are_compiled(cuts):
    assert [cut.id for cut in cuts] == ["op000", "op001", "output"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ("written", ["op000", "op001", "output"]),
        ("all", ["op000", "op001", "output"]),
        ("useful", []),
        ("output, op000,op000", ["output", "op000"]),
    ],
)
def test_cuts_are_chosen_as_elsewhere_but_for_the_empty_head(tiny_package, wanted, ids):
    assert [cut.id for cut in heads.chosen_cuts(tiny_package, wanted)] == ids


def test_the_empty_head_is_not_compiled(tiny_package):
    with pytest.raises(errors.CutError, match="'input' is empty"):
        heads.chosen_cuts(tiny_package, "op000,input")


def test_compiled_heads_and_what_the_compiler_said_go_into_the_package(tool, tiny_package, cuts):
    made = reopened(heads.compile_heads(tiny_package, cuts, tool("partial"), SETTINGS))

    assert made.digest == tiny_package.digest
    for cut in cuts:
        path = made.file(cut, "head_edgetpu")
        assert path == f"cuts/{cut.id}/head_edgetpu.tflite"
        head = flatgraph.read((made.path / path).read_bytes())
        assert rules.is_compiled(head)
        assert head.specs(head.outputs)[0].shape == cut.boundary[0].shape
        assert "Mapped to Edge TPU" in (made.path / "cuts" / cut.id / "head_edgetpu.log").read_text()
        found = made.manifest.compilations[cut.id]
        assert (found.status, found.reason, found.compiler) == ("compiled", None, "16.0.384591198")
        assert (found.tpu_operators, found.cpu_operators, found.subgraphs, found.seconds) == (42, 20, 1, 4.035)
        assert (found.on_chip_used_bytes, found.off_chip_bytes) == (round(4.21 * 2**20), 0)
        assert found.operators[1].status == "Operation version not supported"


def test_without_a_compiler_every_head_says_so(runs, tiny_package, cuts):
    made = reopened(heads.compile_heads(tiny_package, cuts, None, SETTINGS))

    assert {entry.status for entry in made.manifest.compilations.values()} == {"not compiled"}
    assert {entry.reason for entry in made.manifest.compilations.values()} == {"no edgetpu_compiler"}
    assert made.file(cuts[0], "head_edgetpu") is None


def test_a_failure_keeps_its_reason_and_the_others_go_on(tool, runs, tiny_package, cuts):
    told = []
    made = heads.compile_heads(
        tiny_package, cuts, tool("activations"), SETTINGS, on_head=lambda cut, found: told.append(found.status)
    )

    assert told == ["failed"] * 3
    assert len(runs()) == 6
    assert "large activation tensors" in reopened(made).manifest.compilations["op000"].reason
    assert (made.path / "cuts/op000/head_edgetpu.log").exists()


@pytest.mark.parametrize(("case", "count"), [("whole", 1), ("internal", 2)])
def test_results_and_failures_are_remembered_across_packages(tool, runs, tiny_package, cuts, *, case, count):
    once = heads.compile_heads(tiny_package, cuts[:1], tool(case), SETTINGS)
    again = heads.compile_heads(tiny_package, cuts[:1], tool(case), SETTINGS)

    assert len(runs()) == count
    assert again.manifest == once.manifest
    heads.compile_heads(tiny_package, cuts[:1], tool(case), dataclasses.replace(SETTINGS, forgets=True))
    assert len(runs()) == 2 * count


def test_another_version_of_the_compiler_is_another_entry(tool, runs, tiny_package, cuts):
    heads.compile_heads(tiny_package, cuts[:1], tool("whole"), SETTINGS)
    made = heads.compile_heads(tiny_package, cuts[:1], tool("old"), SETTINGS)

    assert len(runs()) == 2
    assert made.manifest.compilations["op000"].compiler == "2.1.302470888"


def test_a_failure_is_tried_again_when_given_more_time(tool, runs, tiny_package, cuts):
    for seconds in (20.0, 20.0, 40.0):
        heads.compile_heads(tiny_package, cuts[:1], tool("timed-out"), heads.Settings(timeout_s=seconds))

    assert len(runs()) == 4


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"reason": null}'])
def test_a_damaged_cache_is_as_good_as_none(tool, runs, tiny_package, cuts, damage):
    heads.compile_heads(tiny_package, cuts[:1], tool("whole"), SETTINGS)
    (entry,) = cache.folder().iterdir()
    (entry / "outcome.json").write_bytes(damage)
    heads.compile_heads(tiny_package, cuts[:1], tool("whole"), SETTINGS)
    assert len(runs()) == 2
    (entry / "model.tflite").write_bytes(damage)
    heads.compile_heads(tiny_package, cuts[:1], tool("whole"), SETTINGS)
    assert len(runs()) == 3


def test_a_cache_that_cannot_be_written_loses_nothing(tool, monkeypatch, tiny_package, cuts):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    made = heads.compile_heads(tiny_package, cuts[:1], tool("whole"), SETTINGS)

    assert made.manifest.compilations["op000"].status == "compiled"


def test_heads_compiled_together_are_one_run_and_name_each_other(tool, runs, tiny_package, cuts):
    made = heads.compile_heads(tiny_package, cuts, tool("whole"), dataclasses.replace(SETTINGS, together=True))

    assert runs() == ["-s -o . -t 20 op000.tflite op001.tflite output.tflite"]
    assert {entry.together for entry in reopened(made).manifest.compilations.values()} == {("op000", "op001", "output")}


def test_a_compiled_head_outlives_a_failure_to_compile_it_again(tool, tiny_package, cuts):
    once = heads.compile_heads(tiny_package, cuts[:1], tool("whole"), SETTINGS)
    again = heads.compile_heads(once, cuts[:1], tool("crash"), dataclasses.replace(SETTINGS, forgets=True))

    assert again.manifest == once.manifest


def test_the_cache_is_the_users_own(tmp_path: pathlib.Path):
    assert cache.folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "tflsplit" / "edgetpu"
    assert cache.folder({"XDG_CACHE_HOME": "relative"}) == cache.folder({})
    assert cache.folder({}) == pathlib.Path.home() / ".cache" / "tflsplit" / "edgetpu"
