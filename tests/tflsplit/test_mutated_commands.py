"""Commands on files that somebody changed: done, or refused in our words, and never a traceback."""

import dataclasses
import io
import json
import os
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout

import invented
import mutated_json
import numpy as np
import pytest

from tflsplit.api import planfile  # noqa: F401 - loaded once, not in each command
from tflsplit.cli import main
from tflsplit.planning import pipeline
from tflsplit.planning.decision import Goal
from tflsplit.planning.scenario import Scenario, Workload
from tflsplit.timings import links, presets, profiles
from tflsplit.timings.profiles import Side

EACH = int(os.environ.get("TFLSPLIT_MUTANTS", "200")) // 10  # a command takes ten times as long as reading its file


def code(*arguments):
    """What a shell sees; anything that is not ours raises."""
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")), redirect_stderr(io.TextIOWrapper(io.BytesIO())):
        found = main._run([str(argument) for argument in arguments])
        sys.stdout.flush()
    return found


def counted(write, documents, commands):
    """How often each exit code came; 0, 1 and 2 are all there may be."""
    assert [code(*command) for command in commands] == [0] * len(commands)
    found = Counter()
    for document in documents:
        write(document)
        found.update(code(*command) for command in commands)
    assert set(found) <= {0, 1, 2}, found
    return found


@pytest.fixture
def measured(tiny_package, tmp_path):
    """A package, with a profile of each side, a link and a plan."""
    edge = invented.edge(tiny_package.cuts, (0.0, 1.0, 2.0, 3.0), preprocess=0.5)
    cloud = invented.cloud(tiny_package.cuts, (0.3, 0.2, 0.1, 0.0))
    for name, made in (("edge", edge), ("cloud", cloud)):
        rendered = profiles.render(dataclasses.replace(made, package=tiny_package.digest))
        (tmp_path / f"{name}.json").write_text(rendered)
    (tmp_path / "link.json").write_text(links.render(presets.named("4g")))
    sides = [pipeline.read_profile(tmp_path / f"{side.value}.json", tiny_package, side) for side in Side]
    outcome = pipeline.make(
        tiny_package, *sides, Scenario(presets.named("4g"), Workload(rate_fps=10.0, window=4)), Goal()
    )
    fields = dataclasses.asdict(pipeline.plan_of(outcome, tmp_path)) | {"schema": 1, "kind": "plan"}
    (tmp_path / "plan.json").write_text(json.dumps(fields, default=str))
    return tmp_path, tiny_package.path


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["edge", "cloud", "link", "plan"])
def test_commands_on_files_of_a_plan(measured, name):
    folder, package = measured
    path = folder / f"{name}.json"
    plan = ("plan", package, "--edge", folder / "edge.json", "--cloud", folder / "cloud.json", "--fps", "10")
    commands = [(*plan, "--link", folder / "link.json"), (*plan, "--link", "4g", "--json")]
    if name == "plan":
        commands = [("bundle", package, "--plan", path, "--role", "edge", "-o", folder / "b", "--force")]
    found = counted(
        lambda changed: path.write_bytes(mutated_json.text(changed)),
        mutated_json.mutants(json.loads(path.read_text()), seed=21, count=EACH),
        commands,
    )
    assert found[1] or found[2]


@pytest.mark.timeout(3600)
def test_commands_on_manifests(tiny_package, tmp_path):
    fields = json.loads((tiny_package.path / "manifest.json").read_text())
    del fields["seal"]
    package = tiny_package.path
    found = counted(
        lambda changed: (package / "manifest.json").write_bytes(mutated_json.sealed(changed)),
        mutated_json.mutants(fields, seed=22, count=EACH),
        [
            ("inspect", package),
            ("inspect", package, "--json", "--all-cuts"),
            ("slice", package, "--cut", "op000", "-o", tmp_path / "s", "--force"),
            ("bundle", package, "--cut", "op000", "--role", "cloud", "-o", tmp_path / "b", "--force"),
            ("distribute", package, "--devices", "2"),
        ],
    )
    assert found[1]
    assert found[0] or EACH < 100  # of a few it may be that none is right enough
    assert found[1]


SETTINGS = """[edge]
package = "PACKAGE"
source = "SOURCE"
deployment = "d"
device = "n"
window = 4
broker = "mqtt://127.0.0.1:1"
spool = "spool"
"""


@pytest.mark.timeout(3600)
def test_config_check_on_settings(tiny_package, tmp_path):
    path, source = tmp_path / "edge.toml", tmp_path / "x.npy"
    np.save(source, np.zeros((2, 4), np.float32))
    text = SETTINGS.replace("PACKAGE", str(tiny_package.path)).replace("SOURCE", str(source)).encode()
    path.write_bytes(text)
    counted(path.write_bytes, mutated_json.damaged(text, seed=23, count=EACH), [("config", "check", path)])


@pytest.mark.timeout(3600)
def test_trace_on_traces(tmp_path):
    from edge_runtime.monitoring import frame_trace

    header = {"schema": frame_trace.SCHEMA, "kind": "trace"}
    line = {"sequence": 1, "captured_ns": 10**18, "total_ms": 4.5, "parts_ms": {"head": 1.0, "tail": 2.0}, "dropped": 0}
    path = tmp_path / "trace"

    def write(changed):
        path.write_bytes(b"".join(mutated_json.text(each) + b"\n" for each in changed))

    write([header, line, line])
    counted(
        write,
        mutated_json.mutants([header, line, line], seed=24, count=EACH),
        [("trace", path), ("trace", path, "--json")],
    )
