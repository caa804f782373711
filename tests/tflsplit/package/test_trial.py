"""Packages of strangers: their models run in a process of their own first."""

import mutations
import pytest
import reaching_out
import tiny_models

import tflsplit
from broker.transport.memory import MemoryBroker
from tflsplit import bundle, errors
from tflsplit.package import trial
from tflsplit.package.manifest import Role


@pytest.fixture(autouse=True)
def forgotten(monkeypatch, tmp_path):
    """Nothing was tried before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_package_that_runs_passes(tiny_package):
    trial.check(tiny_package)


def test_a_model_that_ends_the_process_is_named_and_ends_no_other(tiny_package, monkeypatch):
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    with pytest.raises(errors.PackageError, match=r"tiny\.tflsplit: running model\.tflite ended by SIGSEGV"):
        trial.check(tiny_package)


def test_the_operator_that_ends_the_process_is_named(tiny_package, monkeypatch):
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    monkeypatch.setattr(trial, "attempt_each", reaching_out.crashes_at_an_operator)
    with pytest.raises(errors.PackageError, match=r"running model\.tflite ended by SIGSEGV.* at operator 1 \(SVDF\);"):
        trial.check(tiny_package)


def test_a_model_whose_operators_run_alone_has_no_culprit(tiny_package):
    assert trial.culprit(tiny_package.path / "model.tflite") == ""


def test_a_process_that_names_operators_for_ever_is_ended(tiny_package, monkeypatch):
    monkeypatch.setattr(trial, "attempt_each", reaching_out.names_models_without_end)
    monkeypatch.setattr(trial, "_MOST_OPERATORS", 3)
    assert trial.culprit(tiny_package.path / "model.tflite") == ""


def test_a_half_that_cannot_be_run_is_named(tmp_path, residual_model):
    made = tiny_models.write_package(tmp_path / "tiny.tflsplit", residual_model)
    damaged = next(
        data
        for data in mutations.mutants(mutations.varied_model(), seed=1, count=100)
        if mutations.tried(data).kind == "refused"
    )
    (made.path / "cuts/op000/tail.tflite").write_bytes(damaged)
    with pytest.raises(errors.PackageError, match=r"tiny\.tflsplit: cuts/op000/tail\.tflite: .*"):
        trial.check(made)


def test_a_model_that_hangs_is_given_up(tiny_package, monkeypatch):
    monkeypatch.setattr(trial, "attempt", reaching_out.hangs)
    monkeypatch.setattr(trial, "_TIMEOUT_S", 0.2)
    with pytest.raises(errors.PackageError, match=r"running its models did not end within 0\.2 s; do not use"):
        trial.check(tiny_package)


def test_a_process_that_talks_for_ever_is_ended(tiny_package, monkeypatch):
    monkeypatch.setattr(trial, "attempt", reaching_out.names_models_without_end)
    with pytest.raises(errors.PackageError, match="does not end"):
        trial.check(tiny_package)


def test_what_passed_is_not_tried_again_by_whatever_name_it_goes(tiny_package, residual_model, tmp_path, monkeypatch):
    heard = []
    trial.once(tiny_package, on_model=heard.append)
    assert heard == [name for name in tiny_package.manifest.files if name.endswith(".tflite")]
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    trial.once(tiny_package)
    trial.once(tiny_models.write_package(tmp_path / "other.tflsplit", residual_model))


def test_other_content_and_another_runtime_are_tried(tiny_package, residual_model, builder, tmp_path, monkeypatch):
    trial.once(tiny_package)
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    x = builder.tensor("x", (1, 4))
    model = builder.build((x,), (builder.add(x, x, "y", (1, 4)),))
    with pytest.raises(errors.PackageError):
        trial.once(tiny_models.write_package(tmp_path / "other.tflsplit", model))
    monkeypatch.setattr(trial.probe, "runtime_version", lambda: "another runtime")
    with pytest.raises(errors.PackageError):
        trial.once(tiny_package)


def test_what_crashed_is_tried_again(tiny_package, monkeypatch):
    with monkeypatch.context() as crashing:
        crashing.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
        with pytest.raises(errors.PackageError):
            trial.once(tiny_package)
    heard = []
    trial.once(tiny_package, on_model=heard.append)
    assert heard


def test_where_nothing_can_be_kept_each_start_tries(tiny_package, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    for _ in range(2):
        heard = []
        trial.once(tiny_package, on_model=heard.append)
        assert heard


USES = {
    "edge": lambda package, folder: tflsplit.Edge(package, MemoryBroker(), deployment="d", device="n"),
    "cloud": lambda package, folder: tflsplit.Cloud(package, MemoryBroker(), deployment="d"),
    "profile": lambda package, folder: tflsplit.profile(package, "edge", folder / "edge.json"),
    "verify": lambda package, folder: tflsplit.verify(package),
    "bundle": lambda package, folder: bundle.write(folder / "made", package, Role.EDGE, package.cuts[1:2]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_runs_models_that_end_the_process(tiny_package, tmp_path, monkeypatch, use):
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    with pytest.raises(errors.PackageError, match=r"running model\.tflite ended by SIGSEGV"):
        use(tiny_package, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"tiny.tflsplit", "cache"}


def test_what_was_converted_here_was_tried(tiny_package, tmp_path, monkeypatch):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_package.model_bytes())
    made = tflsplit.convert(model, tmp_path / "made.tflsplit")
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    with tflsplit.Edge(made, MemoryBroker(), deployment="d", device="n", cut="op000") as edge:
        assert edge.cut.id == "op000"
