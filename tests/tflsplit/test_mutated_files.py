"""Thousands of files that somebody changed: each is taken, or refused with an error of ours, and nothing else."""

import contextlib
import dataclasses
import io
import json
import os

import int8_networks
import invented
import mutated_json
import numpy as np
import pytest
import tiny_models
from PIL import Image

from broker.messages import updates
from broker.transport import credentials
from edge_runtime import head
from edge_runtime.delivery.durable import spool
from edge_runtime.monitoring import breakdown, frame_trace
from edge_runtime.updates import store
from tflsplit import bundle, errors
from tflsplit.api import distributing, planfile
from tflsplit.inputs import array_files, pictures, tables
from tflsplit.kernels import keeping
from tflsplit.package import golden, reading, verify, writing
from tflsplit.package.manifest import Role
from tflsplit.placement import placement
from tflsplit.placement import planfile as placement_planfile
from tflsplit.placement.rewriting.network import Network
from tflsplit.planning import pipeline
from tflsplit.planning.decision import Goal
from tflsplit.planning.scenario import Scenario, Workload
from tflsplit.switching import traces as link_traces
from tflsplit.timings import links, presets
from tflsplit.timings import profiles as timings_profiles
from tflsplit.timings.profiles import Side

# `make test-all` takes ten times as many and more: a hundred thousand files in all.
EACH = int(os.environ.get("TFLSPLIT_MUTANTS", "200"))
ours = contextlib.suppress(errors.TflsplitError)


@pytest.mark.timeout(3600)  # with a head for each of 20,000 in `make test-all`
def test_manifests(tiny_package, tmp_path):
    fields = json.loads((tiny_package.path / "manifest.json").read_text())
    del fields["seal"]
    opened = 0
    for number, changed in enumerate(mutated_json.mutants(fields, seed=1, count=5 * EACH)):
        (tiny_package.path / "manifest.json").write_bytes(mutated_json.sealed(changed))
        with ours:
            found = reading.open_package(tiny_package.path)
            opened += 1
            if number % 2:
                bundle.write(tmp_path / "bundle", found, Role.EDGE, found.cuts[:3], replaces_existing=True)
            else:
                with head.Head(found, found.default_cut()) as ready:
                    ready.run(verify.random_samples(found.manifest.inputs, 1)[0])
    assert opened
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "bundle") == ["tiny.tflsplit"]


@pytest.fixture
def profiles(tiny_package, tmp_path):
    paths = {}
    for side, made in (
        (Side.EDGE, invented.edge(tiny_package.cuts, (0.0, 1.0, 2.0, 3.0), preprocess=0.5)),
        (Side.CLOUD, invented.cloud(tiny_package.cuts, (0.3, 0.2, 0.1, 0.0))),
    ):
        paths[side] = tmp_path / f"{side.value}.json"
        paths[side].write_text(timings_profiles.render(dataclasses.replace(made, package=tiny_package.digest)))
    return paths


def planned(package, profiles, link):
    sides = [pipeline.read_profile(profiles[side], package, side) for side in (Side.EDGE, Side.CLOUD)]
    return pipeline.make(package, *sides, Scenario(link, Workload(rate_fps=10.0, window=4)), Goal())


@pytest.mark.parametrize("side", list(Side))
def test_profiles(tiny_package, profiles, side):
    fields = json.loads(profiles[side].read_text())
    for changed in mutated_json.mutants(fields, seed=2, count=EACH):
        profiles[side].write_bytes(mutated_json.text(changed))
        with ours:
            planned(tiny_package, profiles, presets.named("4g"))


def test_links(tiny_package, profiles, tmp_path):
    fields = json.loads(links.render(presets.named("4g")))
    for changed in mutated_json.mutants(fields, seed=3, count=EACH):
        (tmp_path / "link.json").write_bytes(mutated_json.text(changed))
        with ours:
            planned(tiny_package, profiles, links.read(tmp_path / "link.json"))


CHAIN = {
    "schema": 1,
    "kind": "chain plan",
    "package_name": "tiny",
    "package_path": "tiny.tflsplit",
    "stages": [
        {"name": "a", "start": "input", "stop": "op000", "layer": None, "takes_part": True, "device": {}},
        {"name": "b", "start": "op000", "stop": "output", "layer": None, "takes_part": True, "device": {"x": 1}},
    ],
    "objective": "latency",
    "reason": "…",
    "constraints": {"fps": 10.0},
    "links": [{"name": "4g"}],
    "expected": {},
    "explanation": {},
    "runner_up": None,
    "rivals": {},
    "two_machines": {"cut": "op000", "edge": "a", "cloud": "b", "latency_ms": 1.5},
}


@pytest.mark.parametrize("is_chain", [False, True])
def test_plans(tiny_package, profiles, tmp_path, is_chain):
    path = tmp_path / "plan.json"
    if is_chain:
        fields = CHAIN | {"package_digest": tiny_package.digest}
    else:
        outcome = planned(tiny_package, profiles, presets.named("4g"))
        fields = dataclasses.asdict(pipeline.plan_of(outcome, tmp_path)) | {"schema": 1, "kind": "plan"}
    for changed in mutated_json.mutants(fields, seed=4, count=2 * EACH):
        path.write_bytes(mutated_json.text(changed))
        with ours:
            found, made = planfile.with_plan(None, path)
            planfile.settings(made)
            found.cut(made.cut)


def test_placements(tmp_path):
    package = tiny_models.write_package(tmp_path / "net.tflsplit", int8_networks.everything(), labels=())
    distributing.write(distributing.distribute(package, devices=2), package, tmp_path / "shared")
    path = tmp_path / "shared" / distributing.PLAN_NAME
    fields, network, placed = json.loads(path.read_text()), Network(package.graph), 0
    for changed in mutated_json.mutants(fields, seed=14, count=2 * EACH):
        path.write_bytes(mutated_json.text(changed))
        with ours:
            found = placement_planfile.read(path).placement()
            placement.check(network, found)
            placed += 1
    assert placed


def test_traces(tmp_path):
    header = {"schema": frame_trace.SCHEMA, "kind": "trace"}
    line = {"sequence": 1, "captured_ns": 10**18, "total_ms": 4.5, "parts_ms": {"head": 1.0, "tail": 2.0}, "dropped": 0}
    for changed in mutated_json.mutants([header, line, line], seed=5, count=EACH):
        (tmp_path / "trace").write_bytes(b"".join(mutated_json.text(each) + b"\n" for each in changed))
        with ours:
            lines = list(frame_trace.read(tmp_path / "trace"))
            breakdown.summarise(lines)
            json.dumps(breakdown.as_perfetto(lines))


def test_offers_name_no_place_of_their_own():
    fields = {"deployment": "d", "device": "n", "package": "0" * 64, "name": "x", "cut": "op000"}
    fields |= {"manifest_sha256": "1" * 64, "manifest_bytes": 10, "total_bytes": 100, "serial": 1, "url": "http://x/"}
    for changed in mutated_json.mutants(fields, seed=6, count=EACH):
        with ours:
            name = store.name_of(updates.Signed(mutated_json.text(changed), b"").offer())
            assert name.replace("-", "").isalnum()


def test_credentials(tmp_path):
    fields = json.loads(credentials.describe(["mqtts://h:8883"], "d", "n", "device", "0" * 32))
    (tmp_path / credentials.PASSWORD).write_text("secret")
    (tmp_path / credentials.PASSWORD).chmod(0o600)
    for changed in mutated_json.mutants(fields, seed=7, count=EACH):
        (tmp_path / credentials.DESCRIPTION).write_bytes(mutated_json.text(changed))
        with ours:
            credentials.of_speaker(tmp_path, ("d", "n"))


def arrays():
    plain, packed = io.BytesIO(), io.BytesIO()
    np.save(plain, np.zeros((5, 4), np.int8))
    np.savez_compressed(packed, x=np.zeros((5, 4), np.float32), y=np.arange(9))
    return plain.getvalue(), packed.getvalue()


@pytest.mark.parametrize("kind", [0, 1], ids=["npy", "npz"])
def test_arrays(tmp_path, kind):
    for data in mutated_json.damaged(arrays()[kind], seed=8, count=5 * EACH):
        (tmp_path / "x").write_bytes(data)
        with ours:
            array_files.read(tmp_path / "x")


def picture(kind):
    written = io.BytesIO()
    colours = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(colours).save(written, kind)
    return written.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "ppm", "tiff", "webp"])
def test_pictures(tmp_path, kind):
    path = tmp_path / f"x.{kind.replace('jpeg', 'jpg')}"
    for data in mutated_json.damaged(picture(kind), seed=11, count=EACH):
        path.write_bytes(data)
        with ours:
            pictures.read(path, (1, 8, 8, 3))


def test_tables(tmp_path):
    for data in mutated_json.damaged(b"\xef\xbb\xbfa,b,c,d\r\n1,2,3,4\r\n0.5,-1e3,7,8\r\n", seed=12, count=2 * EACH):
        (tmp_path / "x.csv").write_bytes(data)
        with ours:
            tables.read(tmp_path / "x.csv", (1, 4))


def test_traces_of_links(tmp_path):
    written = (b"time_s,rate_bps,rtt_s,loss,load\n0,1e6,0.04,0,0\n1,2e6,0.04,0.1,0.5\n", b"1\n1\n20\n300\n4000\n")
    for data in [each for text in written for each in mutated_json.damaged(text, seed=13, count=EACH)]:
        (tmp_path / "link").write_bytes(data)
        with ours:
            played = link_traces.read(tmp_path / "link")
            assert played.arrival_s(0.3, 1000.0) >= 0.3


def test_golden_samples(tmp_path, residual_model):
    bare = tiny_models.describe(residual_model)
    inputs = verify.random_samples(bare.inputs, 2)
    samples = golden.of_model(residual_model, bare.cuts[-1], inputs, keeping.here())
    made = writing.write(tmp_path / "p.tflsplit", bare, residual_model, (), golden=samples)
    for data in mutated_json.damaged(samples, seed=9, count=5 * EACH):
        (made.path / reading.GOLDEN).write_bytes(data)
        with ours:
            golden.read(made, made.cuts[-1])


def test_spools(tmp_path):
    folder = tmp_path / "spool"
    with spool.open_spool(folder, spool.limits(), deployment="d", device="n"):
        pass
    files = {path: path.read_bytes() for path in folder.iterdir()}
    whole = next(path for path in files if path.suffix == ".sqlite")
    for data in mutated_json.damaged(files[whole], seed=10, count=EACH):
        for path in list(folder.iterdir()):
            path.unlink() if path.is_file() else _remove(path)
        for path, content in files.items():
            path.write_bytes(data if path == whole else content)
        with ours, spool.open_spool(folder, spool.limits(), deployment="d", device="n"):
            pass


def _remove(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
