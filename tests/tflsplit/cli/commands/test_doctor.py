"""The command: what it asks of which role, what it prints, and how it ends."""

import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from edge_runtime.machine import edgetpu
from tflsplit import installation, text
from tflsplit.cli.commands import doctor
from tflsplit.cli.options import connection
from tflsplit.findings import Finding, State
from tflsplit.kernels import keeping

KEYS = {"name", "state", "needed", "detail", "remedy"}


def run(*arguments):
    return CliRunner().invoke(doctor.command, arguments)


def names(found):
    return {finding.name for finding in found.findings}


def test_json_has_every_finding_with_every_key():
    ended = run("--json")
    told = json.loads(ended.stdout)

    assert ended.exit_code == 0
    assert set(told) == {"role", "ready", "lacking", "findings", "kernel_class"}
    assert told["kernel_class"] == keeping.here().as_json()
    assert {frozenset(finding) for finding in told["findings"]} == {frozenset(KEYS)}
    assert {finding["state"] for finding in told["findings"]} <= {state.value for state in State}
    assert len({finding["name"] for finding in told["findings"]}) == len(told["findings"])


def test_each_role_is_examined_for_what_it_is_about():
    edge, cloud, convert = (names(doctor.examine(role, None)) for role in doctor.ROLES)

    assert {"interpreter", "paho-mqtt", "Coral USB", "clock", "power"} <= edge
    assert {"interpreter", "paho-mqtt", "clock"} <= cloud
    assert {"tensorflow", "keras", "h5py", "Keras 2 files", "edgetpu_compiler"} <= convert
    assert not {"tensorflow", "Keras 2 files"} & (edge | cloud)
    assert not {"Coral USB", "power"} & (cloud | convert)
    assert edge | cloud | convert <= names(doctor.examine(None, None))


def test_edge_needs_an_interpreter_but_not_litert_nor_a_coral():
    found = doctor.examine("edge", None)

    assert {"interpreter", "paho-mqtt", "Python", "packages"} <= found.needs["edge"]
    assert not {"ai-edge-litert", "Coral USB", "clock", "OpenCV"} & found.needs["edge"]


@pytest.mark.parametrize(
    ("state", "needed", "exit_code"),
    [
        ("missing", True, 1),
        ("wrong", True, 1),
        ("missing", False, 0),
        ("info", True, 0),
        ("caution", True, 0),
        ("ok", True, 0),
    ],
)
def test_exit_code_is_1_for_what_the_role_needs_and_does_not_have(monkeypatch, state, needed, exit_code):
    finding = Finding("paho-mqtt", State(state), "2.0", "" if state == "ok" else "pip install")
    made = doctor.Diagnosis("edge", (finding,), {"edge": frozenset({"paho-mqtt"} if needed else ())})
    monkeypatch.setattr(doctor, "examine", lambda role, url: made)

    assert run("--role", "edge").exit_code == exit_code
    assert json.loads(run("--json").stdout)["ready"] == (exit_code == 0)


def test_library_that_is_missing_stops_the_role_that_needs_it(tmp_path):
    """In a process that finds numpy, click, packaging and us, and nothing else."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ("numpy", "click", "packaging", "tflsplit"):
        for file in installed_files(name):
            (site / file.name).symlink_to(file)
    program = (
        f"import sys; sys.path[:] = [entry for entry in sys.path if 'site-packages' not in entry] + [{str(site)!r}, "
        f"{str(doctor.__file__).rpartition('/tflsplit/')[0]!r}]\n"
        "from tflsplit.cli import main; sys.argv = ['tflsplit', 'doctor', '--role', 'edge', '--json', "
        "'--broker', 'mqtt://localhost:1']; main.main()"
    )
    child = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False)

    found = {finding["name"]: finding for finding in json.loads(child.stdout)["findings"]}
    assert child.returncode == 1
    assert [found[name]["state"] for name in ("numpy", "interpreter", "paho-mqtt", "broker")] == [
        "ok",
        "missing",
        "missing",
        "missing",
    ]


def installed_files(name):
    distribution = installation.metadata.distribution(name)
    tops = {str(file).partition("/")[0] for file in distribution.files or ()}
    return [file for top in tops - {"..", "__pycache__"} if (file := distribution.locate_file(top)).exists()]


def test_foreign_package_in_front_of_ours_is_told_and_nothing_of_it_is_run(tmp_path):
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "__init__.py").write_text("raise SystemExit('a stranger ran')")
    child = subprocess.run(
        [sys.executable, "-m", "tflsplit.cli.main", "doctor", "--broker", "mqtt://localhost", "--json"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    (found,) = json.loads(child.stdout)["findings"]
    assert (found["name"], found["state"]) == ("packages", "wrong")
    assert child.returncode == 1


def test_neither_tensorflow_nor_numpy_is_imported_to_examine_anything():
    program = (
        "import sys; from tflsplit.cli.commands import doctor; doctor.examine(None, None)\n"
        "print({'numpy', 'tensorflow', 'keras', 'h5py', 'ai_edge_litert'} & set(sys.modules))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert child.stdout == "set()\n"


def test_broker_that_does_not_answer_stops_whoever_asked_for_it():
    found = doctor.examine("cloud", connection.Broker(("mqtt://127.0.0.1:1",)))

    assert found.lacking == {"cloud": ("broker",)}


def test_without_a_role_each_is_judged_and_one_that_is_ready_is_enough(monkeypatch):
    findings = (Finding("interpreter", State.OK, "2.3"), Finding("tensorflow", State.MISSING, "not installed", "pip"))
    needs = {"edge": frozenset({"interpreter"}), "convert": frozenset({"interpreter", "tensorflow"})}
    monkeypatch.setattr(doctor, "examine", lambda role, url: doctor.Diagnosis(None, findings, needs))
    told = run()

    assert told.exit_code == 0
    assert told.stdout.endswith("\n\nedge: everything needed is here\nconvert: lacks tensorflow\n")


def test_what_only_older_pythons_need_is_not_missed():
    assert ("tomli" in names(doctor.examine("edge", None))) == (sys.version_info < (3, 11))


def test_address_that_is_none_is_refused():
    assert run("--broker", "localhost").exit_code == 1


def test_lines_align_and_remedies_can_be_pasted(monkeypatch):
    made = doctor.Diagnosis(
        "edge",
        (
            Finding("Python", State.OK, "3.11.7"),
            Finding("udev rule", State.MISSING, "only root can open it", "printf '%s' \\\n  | sudo tee rule"),
        ),
        {"edge": frozenset({"Python", "udev rule"})},
    )
    monkeypatch.setattr(doctor, "examine", lambda role, url: made)

    assert run().stdout == (
        "ok       Python     3.11.7\n"
        "missing  udev rule  only root can open it\n"
        "        → printf '%s' \\\n"
        "            | sudo tee rule\n"
        "\n"
        "edge: lacks udev rule\n"
    )


REMEDIES = {
    "sentence": "use the board's own power supply and a short cable; plug a USB accelerator into a powered hub",
    "mixed": "`pip install ai-edge-litert`; where there is none: `pip install 'numpy<2' tflite-runtime`",
    "command": "pip install --editable '/srv/a folder with a long name/tflsplit[edge]'",
    "commands": edgetpu.UDEV_RULE,
}


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 10_000])
@pytest.mark.parametrize("kind", REMEDIES)
def test_lines_end_between_words_and_a_command_is_never_broken(kind, columns):
    remedy = REMEDIES[kind]
    detail = "neither ai-edge-litert nor tflite-runtime is installed, " * 3
    finding = Finding("broker round trip", State.WRONG, detail.strip(), remedy)
    lines = doctor._lines(finding, len(finding.name), columns)
    at = next(number for number, line in enumerate(lines) if "→" in line)
    shown = [re.sub(r"\x1b\[\d*m", "", line) for line in lines[:at]] + lines[at:]
    said = [line.strip().removeprefix("→ ") for line in shown]
    commands = re.findall("`.*?`", remedy) or (remedy.splitlines() if finding.is_to_paste else [])

    assert " ".join(said[:at]).split() == ["wrong", *finding.name.split(), *detail.split()]
    assert [each.strip() for each in remedy.splitlines()] == said[
        -len(remedy.splitlines()) :
    ] or not finding.is_to_paste
    assert " ".join(said[at:]).removeprefix("run: ").split() == remedy.split()
    for command in commands:
        assert any(command.strip() in line for line in said)
    assert not [line for line in shown if text.columns(line) > columns and not any(each in line for each in commands)]


@pytest.mark.parametrize("word", ["edge", "cloud", "convert"])
def test_a_role_without_its_option_is_told_of_it(word):
    done = subprocess.run(
        [sys.executable, "-m", "tflsplit", "doctor", word], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert f"Did you mean --role {word}?" in done.stderr
