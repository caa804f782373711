"""Standard output and error as they come: closed pipes, full disks, plain encodings, Ctrl-C, and JSON for programs."""

import io
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import tiny_models

import tflsplit
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import address
from tflsplit.cli.commands import results
from tflsplit.cli.output import logs, screen

PYTHON = (sys.executable, "-m", "tflsplit")
PACKAGE = pathlib.Path(tflsplit.__file__).parent
INTERRUPTED = "tflsplit: interrupted\n"


@pytest.fixture
def closed():
    """A pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def profiles(run, tiny_package, tmp_path):
    found = {side: tmp_path / f"{side}.json" for side in ("edge", "cloud")}
    for side, file in found.items():
        words = ("--side", side, "-o", file, "--budget", "0.1", "--precision", "0.5")
        assert run("profile", tiny_package.path, *words).code == 0
    return ("--edge", found["edge"], "--cloud", found["cloud"], "--link", "wifi")


@pytest.mark.parametrize("words", [("verify", "--json"), ("inspect",), ("inspect", "--json"), ("verify",)])
def test_a_reader_that_is_gone_is_no_failed_proof(run, tiny_package, closed, words):
    done = run(words[0], tiny_package.path, *words[1:], stdout=closed)

    assert (done.code, done.err) == (141, "")


def test_a_plan_and_its_report_are_written_before_anything_is_printed(run, tiny_package, profiles, closed, tmp_path):
    pytest.importorskip("matplotlib")
    written = (tmp_path / "plan.json", tmp_path / "plan.html")
    done = run("plan", tiny_package.path, *profiles, "-o", written[0], "--report", written[1], stdout=closed)

    assert done.code == 141
    assert [path.is_file() for path in written] == [True, True]


@pytest.mark.parametrize("words", [("inspect",), ("inspect", "--json"), ("verify", "--json")])
def test_a_full_disk_behind_stdout_is_one_line(run, tiny_package, words):
    with open("/dev/full", "wb") as full:
        done = run(words[0], tiny_package.path, *words[1:], stdout=full)

    assert done.code == 1
    assert done.err == "tflsplit: stdout: cannot be written (No space left on device)\n"


@pytest.mark.parametrize(
    "plain",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=lambda plain: next(iter(plain)),
)
def test_an_ascii_stdout_gets_the_same_table_and_json(run, tiny_package, profiles, plain):
    env = {**os.environ, **plain}
    table = run("plan", tiny_package.path, *profiles, env=env)
    document = run("plan", tiny_package.path, *profiles, "--json", env=env)

    assert (table.code, table.out.isascii(), document.out.isascii()) == (0, True, True)
    assert re.search(r"^>  \w+", table.out, re.MULTILINE), table.out
    assert json.loads(document.out)["choice"]
    assert run("convert", "--help", env=env).out.isascii()  # which click prints


class Interrupted(subprocess.Popen):
    """A command that gets Ctrl-C after a time."""

    def __init__(self, *words, after_s):
        command = [*PYTHON, *map(str, words)]
        super().__init__(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            self.wait(after_s)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGINT)
        self.err = self.communicate(timeout=60)[1]


def is_of_python_itself(process):
    """While Python starts and ends it answers Ctrl-C itself, before and after anything of ours can."""
    beginning = r"(?!__init__|__main__|cli/__init__|cli/interrupts)"
    ours = re.search(f"{re.escape(str(PACKAGE))}/{beginning}", process.err)
    return process.returncode in (1, -signal.SIGINT) and ours is None


@pytest.mark.parametrize("words", [("inspect", "--json"), ("profile", "--side", "edge", "-o", "p.json")])
def test_ctrl_c_at_any_time_is_one_line(tiny_package, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    began_s = time.monotonic()
    whole = subprocess.run([*PYTHON, words[0], tiny_package.path, *words[1:]], capture_output=True, check=False)
    took_s = min(time.monotonic() - began_s, 3.0)
    (tmp_path / "p.json").unlink(missing_ok=True)
    assert whole.returncode == 0, whole.stderr
    assert b"connection" not in whole.stderr, "a profile asks for no broker and need not tell of its own"
    interrupted = 0
    for step in range(7):
        process = Interrupted(words[0], tiny_package.path, *words[1:], after_s=took_s * (step + 0.5) / 7)
        (tmp_path / "p.json").unlink(missing_ok=True)
        err = process.err
        if process.returncode == 0:  # it was done before
            continue
        if is_of_python_itself(process):
            continue
        assert (process.returncode, err) == (130, INTERRUPTED), step
        interrupted += 1

    assert interrupted


def lines_until(stream, phrase):
    found = []
    for line in stream:
        found.append(line)
        if phrase in line:
            break
    return found


@pytest.mark.parametrize("more", [(), ("--count", "8")], ids=["while frames come", "after the last frame"])
def test_an_edge_without_a_cloud_says_how_long_it_waits_and_how_to_give_up(start, tiny_package, source, brokers, more):
    url = brokers.start()
    words = ("--broker", url, "--deployment", "d", "--device", "n", "--source", source, "--cut", "op000", *more)
    with transport.MqttTransport(address.parse(url), client_id="reader") as reader:
        reader.connect()
        reader.subscribe(topics.topic("d", "n", topics.Kind.FEATURES))
        edge = start("edge", tiny_package.path, *words, "--window", "8", "--log-format", "json")
        for _ in range(8):  # then its window is full
            reader.acknowledge(reader.receive(60.0))
        edge.send_signal(signal.SIGINT)
        *_, stopping = lines_until(edge.stderr, "stopping")
        edge.send_signal(signal.SIGINT)
        done = edge.done()

    assert json.loads(stopping)["text"] == "stopping: waiting up to 30 s for 8 answers, Ctrl-C again to give up"
    assert done.code == 130
    assert [json.loads(line)["reason"] for line in done.err.splitlines() if '"refused"' in line] == ["interrupted"]


def test_who_ignores_ctrl_c_goes_on_ignoring_it(tiny_package):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a process inherits
    process = subprocess.Popen([*PYTHON, "verify", tiny_package.path], stdout=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    assert (process.returncode, b"bit-exact" in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("inspect", "/no/such/model"), 1),
        (("inspect", "--no-such-option"), 2),
        (("no-such-command",), 2),
        (("plan",), 2),
        (("verify", "PKG", "--cuts", "nowhere"), 1),
    ],
)
def test_whatever_ends_a_command_is_one_object_where_json_is_asked_for(run, tiny_package, words, code):
    typed = [tiny_package.path if word == "PKG" else word for word in words]
    done = run(*typed, "--log-format", "json")
    (entry,) = [json.loads(line) for line in done.err.splitlines()]

    assert done.code == code
    assert (entry["event"], entry["level"]) == ("refused", "error")
    assert entry["reason"]


def test_a_result_that_holds_escapes_is_printed_as_json_writes_them(capsys):
    result = {"label": "\x9b31m\u202e"}
    results._print(json.dumps(result, ensure_ascii=False).encode())
    out = capsys.readouterr().out

    assert out.rstrip("\n").isprintable()
    assert json.loads(out) == result


def test_a_progress_bar_shows_names_and_obeys_none_of_them(monkeypatch):
    pytest.importorskip("rich")
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with screen.progress("begin", 2) as step:
        step(description="a [/b] layer [red]\x1b]0;title\x07")

    assert "a [/b] layer [red]\\x1b]0;title\\x07" in stream.getvalue()


def test_the_log_stands_above_a_progress_bar(monkeypatch):
    pytest.importorskip("rich")
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    log = logging.getLogger("tflsplit.beside_a_bar")
    handler = logs.Handler(stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with screen.progress("begin", 2):
        log.warning("a line of the log")
    log.warning("a later line")

    assert handler.stream is stream
    before, after = stream.getvalue().split("a line of the log\n")
    assert before.endswith(("\r", "\x1b[2K", "\n"))  # the bar was wiped from its line
    assert "begin" in after  # and drawn below
    assert stream.getvalue().endswith("a later line\n")


BUG = "from tflsplit.cli import main; from tflsplit.package import reading; reading.open_package = None; main.main()"


def test_a_bug_is_one_object_too(tiny_package):
    line = [sys.executable, "-c", BUG, "inspect", tiny_package.path, "--log-format", "json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    (entry,) = map(json.loads, done.stderr.splitlines())

    assert done.returncode == 1
    assert (entry["event"], entry["level"]) == ("bug", "critical")
    assert "TypeError" in entry["error"]


def test_terminal_escapes_out_of_a_manifest_are_shown_and_not_obeyed(run, residual_model, tmp_path):
    made = tiny_models.write_package(tmp_path / "tiny.tflsplit", residual_model, name="tiny\x1b[2J\x9b31m")
    shown = run("inspect", made.path)
    document = run("inspect", made.path, "--json")
    refused = run("inspect", tmp_path / "\x1b[2Jnothing.tflsplit")

    assert "tiny\\x1b[2J\\x9b31m" in shown.out
    assert json.loads(document.out)["name"] == "tiny\x1b[2J\x9b31m"
    assert not {"\x1b", "\x9b"} & {*shown.out, *document.out, *refused.err}
    assert "\\x1b[2Jnothing" in refused.err
