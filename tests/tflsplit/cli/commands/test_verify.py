"""`tflsplit verify` of a bundle, and between two machines."""

import json

import pytest
from command_line import run

from tflsplit.package import judging


@pytest.fixture
def edge(tiny_package, tmp_path):
    run("bundle", tiny_package.path, "--role", "edge", "--cut", "op000", "-o", tmp_path / "e.tflsplit")
    return tmp_path / "e.tflsplit"


def test_a_bundle_is_proven_by_its_golden_samples(edge):
    code, said, _ = run("verify", edge)
    assert code == 0
    assert "op000: 8 golden samples of " in said
    assert "equal here" in said
    code, said, _ = run("verify", edge, "--json")
    told = json.loads(said)
    assert (code, told["verdict"], told["cuts"][0]["samples"]) == (0, "equal", 8)
    assert told["kernel_class"]["id"] == told["cuts"][0]["made_on"]


@pytest.mark.parametrize(("verdict", "code"), [("rounded", 3), ("wrong", 1)])
def test_the_exit_code_tells_rounding_from_a_fault(edge, monkeypatch, verdict, code):
    real = judging.judge

    def other(run, *args, **words):
        found = real(lambda given: tuple(each ^ 1 for each in run(given)), *args, **words)
        assert found.verdict.value == "wrong"
        return judging.Found(
            *(getattr(found, name) for name in ("cut",)), judging.Verdict(verdict), found.apart, None, found.here
        )

    monkeypatch.setattr(judging, "judge", other)
    got, said, _ = run("verify", edge)
    assert got == code
    assert "8 of 8 differ, by at most 1 step" in said


def test_a_pair_is_proven_over_two_machines(edge, tiny_package, tmp_path):
    file = tmp_path / "r"
    code, said, _ = run("verify", edge, "--record", file, "--samples", "5")
    assert code == 0
    assert "1 cut x 5 samples" in said
    code, said, _ = run("verify", tiny_package.path, "--against", file)
    assert code == 0
    assert "op000: boundary equal; result equal" in said
    told = json.loads(run("verify", tiny_package.path, "--against", file, "--json")[1])
    assert told["equal"] is True
    assert told["recorded_on"] == told["kernel_class"]
    written = file.read_bytes()
    for taken, words in ((file, "exists already"), (tmp_path / "no" / "r", "there is no folder")):
        code, _, said = run("verify", edge, "--record", taken, "--samples", "4")
        assert code == 1
        assert words in said
    assert file.read_bytes() == written
    assert run("verify", edge, "--record", file, "--samples", "4", "--force")[0] == 0
    assert file.read_bytes() != written
    assert run("verify", edge, "--record", file, "--against", file)[2].endswith("give one of them")
