"""What the command line says of packages that keep state, and refuses with them."""

import json

import numpy as np
import pytest
import tiny_models
from command_line import run


@pytest.fixture
def packages(tmp_path):
    return {
        is_stateful: tiny_models.write_package(
            tmp_path / f"{is_stateful}.tflsplit", tiny_models.remembering_model(), is_stateful=is_stateful
        )
        for is_stateful in (False, True)
    }


@pytest.mark.parametrize(
    ("is_stateful", "words"),
    [(False, "is reset before each frame; to keep it, convert with --stateful"), (True, "is kept from frame to frame")],
)
def test_inspect_says_what_is_kept_and_for_how_long(packages, is_stateful, words):
    code, said, _ = run("inspect", packages[is_stateful].path)
    told = json.loads(run("inspect", packages[is_stateful].path, "--json")[1])

    assert code == 0
    assert f"state of SVDF, 48 bytes, {words}" in said
    assert (told["stateful"], told["state_bytes"]) == (is_stateful, 48)


def test_a_model_that_keeps_nothing_is_said_nothing_of(tiny_package):
    said = run("inspect", tiny_package.path)[1]
    assert "state" not in said


def test_verify_proves_the_one_that_runs(packages):
    said = {is_stateful: run("verify", made.path)[1] for is_stateful, made in packages.items()}

    assert said[False].startswith("4 cuts x 8 samples: bit-exact")
    assert said[True].startswith("4 cuts x 8 steps of one stream: bit-exact")


def test_a_bundle_says_it_too(packages, tmp_path):
    for role in ("edge", "cloud"):
        where = tmp_path / f"{role}.tflsplit"
        assert run("bundle", packages[True].path, "--cut", "op001", "--role", role, "-o", where)[0] == 0
        assert "state is kept from frame to frame" in run("inspect", where)[1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('spool-full = "drop-oldest"', "with --spool-full drop-oldest frames behind a dropped one"),
        ('spool-age = "7d"', "with --spool-age frames behind a dropped one"),
        ('spool-age = "0"', None),
        ("adapt = true", "leave --adapt out"),
    ],
)
def test_a_configuration_that_would_tear_the_stream_is_refused(packages, tmp_path, line, words):
    np.save(tmp_path / "in.npy", np.zeros((2, 4), np.int8))
    file = tmp_path / "edge.toml"
    file.write_text(
        f'[edge]\npackage = "{packages[True].path}"\nbroker = "mqtt://localhost"\ndeployment = "d"\ndevice = "n"\n'
        f'source = "in.npy"\nspool = "spool"\n{line}\n'
    )
    code, said, complaint = run("config", "check", file)

    assert code == (words is not None), said + complaint
    assert (words or "") in said + complaint
