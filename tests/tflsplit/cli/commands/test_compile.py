"""`inspect --target coral`, `convert --target coral` and `compile` as they are typed; the compiler is a stand-in."""

import os
import shlex
import signal
import sys
import time

import edgetpu_compiler
import pytest
import tiny_models

from tflsplit.package import reading

COMPILER = shlex.join([sys.executable, edgetpu_compiler.__file__])


@pytest.fixture
def surroundings(tmp_path):
    """Environment with a cache of the test's own and no compiler on PATH."""
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/nowhere", "EDGETPU_CASE": "partial"}


@pytest.fixture
def model(builder, tmp_path):
    """x → ADD → HARD_SWISH → ADD."""
    x, swish = builder.tensor("x", (1, 4)), builder.tensor("swish", (1, 4))
    first = builder.add(x, x, "first", (1, 4))
    builder.operator("HARD_SWISH", (first,), (swish,))
    last = builder.add(swish, swish, "last", (1, 4))
    (tmp_path / "m.tflite").write_bytes(builder.build((x,), (last,)))
    return tmp_path / "m.tflite"


def test_inspect_says_of_every_operator_if_it_maps(typed, model):
    told = typed("inspect", model, "--target", "coral", "--json").json()

    assert told["first_unmapped"] == 1
    assert told["edgetpu_cut"] == "op000"
    assert [entry["maps"] for entry in told["operators"]] == [True, False, True]
    assert [entry["runs_on"] for entry in told["operators"]] == ["edgetpu", "cpu", "cpu"]
    assert told["operators"][1] | {"reason": None} == {
        "index": 1, "op": "HARD_SWISH", "version": 1, "layer": "swish", "maps": False, "reason": None,
        "confirmed": False, "runs_on": "cpu", "consequence": None,
    }  # fmt: skip
    assert "use ReLU6, or swish" in told["operators"][1]["reason"]


def test_inspect_marks_the_first_that_does_not_map_for_people(typed, model):
    shown = typed("inspect", model, "--target", "coral").out

    assert shown.count("FIRST THAT does not map (unconfirmed): HARD_SWISH") == 1
    assert "2 of 3 operators map, 1 in one part" in shown
    assert "unconfirmed, for no file that Google's compiler made shows it: HARD_SWISH\n" in shown
    assert "--split-at edgetpu (op000)" in shown
    assert "HARD_SWISH" not in typed("inspect", model).out


def test_without_a_compiler_convert_says_how_to_compile_later(run, model, surroundings, tmp_path):
    done = run("convert", model, "--target", "coral", "--split-at", "edgetpu", cwd=tmp_path, env=surroundings)

    assert done.code == 0
    assert "head of op000: not compiled: no edgetpu_compiler" in done.out
    assert "tflsplit compile m.tflsplit" in done.out


def test_compiling_later_keeps_the_digest_and_is_shown(run, tiny_package, surroundings):
    path = tiny_package.path
    done = run("compile", path, "--compiler", COMPILER, "--cuts", "op001, output", "--json", env=surroundings)
    told = done.json()

    assert told["digest"] == tiny_package.digest == reading.open_package(path).digest
    assert [(head["cut"], head["status"]) for head in told["heads"]] == [("op001", "compiled"), ("output", "compiled")]
    assert told["heads"][0]["head_edgetpu"] == "cuts/op001/head_edgetpu.tflite"
    assert told["heads"][0]["tpu_operators"] == 42
    shown = run("inspect", path).out
    assert "head of op001: compiled by version 16.0.384591198: 42 operators on the Edge TPU, 20 on the CPU" in shown
    cuts = {cut["id"]: cut for cut in run("inspect", path, "--json").json()["cuts"]}
    assert cuts["op001"]["compilation"]["status"] == "compiled"
    assert cuts["op000"]["compilation"] is None


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_run_that_compiled_nothing_says_so_and_fails(run, tiny_package, surroundings, form):
    failing = surroundings | {"EDGETPU_CASE": "internal"}
    done = run("compile", tiny_package.path, "--compiler", COMPILER, *form, env=failing)

    assert done.code == 1
    assert "failed: Internal compiler error" in done.out if not form else '"status": "failed"' in done.out
    assert done.err.rstrip().endswith("0 of 3 heads compiled")


def test_without_a_compiler_compile_fails_and_says_what_to_do(run, tiny_package, surroundings):
    done = run("compile", tiny_package.path, env=surroundings)

    assert done.code == 1
    assert "0 of 3 heads compiled; give --compiler" in done.err


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("--compiler", "/nowhere/edgetpu_compiler"), "cannot be started"),
        (("--compiler", "echo hello"), "not an Edge TPU compiler"),
        (("--cuts", "op77"), "no cut or layer 'op77'"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_one_line(typed, tiny_package, words, refusal):
    assert refusal in typed("compile", tiny_package.path, *words).refusal()


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_a_compiled_file_is_known_for_what_it_is(typed, tmp_path, residual_model, command):
    (tmp_path / "m_edgetpu.tflite").write_bytes(edgetpu_compiler.marked(residual_model, is_compiled=True))

    assert "compiled for the Edge TPU already" in typed(command, "m_edgetpu.tflite").refusal()


def test_a_package_whose_update_died_is_inspected_as_if_it_had_not_begun(typed, tmp_path, residual_model):
    made = tiny_models.write_package(tmp_path / "tiny.tflsplit", residual_model)
    (made.path / "cuts/op000/.head_edgetpu.tflite.partial").write_bytes(b"half of it")

    assert typed("inspect", made.path, "--json").json()["digest"] == made.digest


def test_a_model_that_maps_whole_says_so_where_a_split_is_asked_for(run, surroundings, residual_model, tmp_path):
    (tmp_path / "m.tflite").write_bytes(residual_model)
    done = run("convert", "m.tflite", "--target", "coral", "--split-at", "edgetpu", cwd=tmp_path, env=surroundings)

    assert done.code == 0, done.err
    assert "all of the model maps" in done.out
    assert reading.open_package(tmp_path / "m.tflsplit").cut("edgetpu").id == "output"


def test_a_package_opens_after_its_compilation_was_killed(run, start, surroundings, tiny_package, tmp_path):
    """The compiler hangs over a head that was compiled before; what there was stays."""
    words = ("compile", tiny_package.path, "--compiler", COMPILER, "--cuts", "op000", "--forget")
    assert run(*words, env=surroundings).code == 0
    hanging = {"EDGETPU_CASE": "hang", "EDGETPU_RUNS": str(tmp_path / "runs"), "PATH": os.environ["PATH"]}
    process = start(*words, env=surroundings | hanging)
    grandchild = tmp_path / "runs.grandchild"
    give_up_s = time.monotonic() + 60
    while not (grandchild.exists() and grandchild.read_text()):
        assert process.poll() is None
        assert time.monotonic() < give_up_s
    process.kill()
    process.wait()
    os.killpg(os.getpgid(int(grandchild.read_text())), signal.SIGKILL)  # it outlives who cannot end it any more
    opened = reading.open_package(tiny_package.path)

    assert opened.digest == tiny_package.digest
    assert opened.manifest.compilations["op000"].status == "compiled"


@pytest.mark.parametrize("command", ["inspect", "convert"])
@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "mobilenet_quant_v1_224_feature_layers"])
def test_public_files_that_were_compiled_are_refused_in_one_line(typed, shared_data, name, command):
    refusal = typed(command, shared_data / f"{name}_edgetpu.tflite", "--target", "coral").refusal()

    assert "compiled for the Edge TPU already" in refusal
