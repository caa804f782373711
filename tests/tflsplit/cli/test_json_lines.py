"""With --log-format json each line on stderr is an object with a fixed phrase, whoever wrote it."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from waiting import WAIT_S

from tflsplit.cli import main

# What can write to stderr past our log, and the level, event and text of the line that is expected.
FOREIGN = {
    "os.write(2, b'INFO: Created a delegate.\\n')": ("info", "Created a delegate"),
    "os.write(2, b'WARNING: All log messages before absl\\n')": ("warning", "All log messages"),
    "os.write(2, b'E0000 00:00 cuda.cc:1] no GPU \\xff\\n')": ("error", "no GPU"),
    "os.write(2, b'no end of line')": ("info", "no end of line"),
    "subprocess.run(['sh', '-c', 'echo a child >&2'], check=False)": ("info", "a child"),
    "print('of Python', file=sys.stderr)": ("info", "of Python"),
    "warnings.warn('two\\nlines', UserWarning)": ("warning", "UserWarning: two lines"),
    "logging.getLogger('paho.mqtt').warning('lost %s', 7)": ("warning", "lost 7"),
    "logging.getLogger('broker.x').warning('tried %d times why=%s', 7, None)": ("warning", "tried 7 times"),
    "logging.getLogger('broker.x').warning('waits for %s', {1: 2})": ("warning", "waits for {1: 2}"),
}
BEGIN = """
import logging, os, subprocess, sys, threading, warnings
from tflsplit.cli.output import logs
logs.set_up(is_json=True)
"""


def lines_of(stderr):
    """The lines, each of which must be an object with an event of words only, and without nothing in it."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for each in found:
        assert each["event"], each
        assert not re.search(r"\d", each["event"]), each
        assert None not in each.values()
        assert {"time", "level", "logger"} <= set(each)
    return found


def run_python(script):
    line = [sys.executable, "-c", BEGIN + script]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=WAIT_S)


@pytest.mark.parametrize(("script", "expected"), FOREIGN.items())
def test_whoever_writes_to_stderr_writes_json(script, expected):
    (said,) = lines_of(run_python(script).stderr)

    assert said["level"] == expected[0]
    assert expected[1] in said["text"]


def test_a_thread_that_fails_is_one_object_with_its_trace():
    done = run_python("thread = threading.Thread(target=lambda: 1 / 0, name='worker')\nthread.start()\nthread.join()")
    (said,) = lines_of(done.stderr)

    assert (said["event"], said["thread"], said["level"]) == ("bug", "worker", "critical")
    assert "ZeroDivisionError" in said["error"]


def test_the_last_words_of_a_library_that_ends_the_process_are_not_lost():
    done = run_python("os.write(2, b'terminate called after throwing\\n')\nos.abort()")
    (said,) = lines_of(done.stderr)

    assert done.returncode == -signal.SIGABRT
    assert (said["text"], said["level"]) == ("terminate called after throwing", "error")


def test_lines_come_in_the_order_in_which_they_were_written():
    done = run_python(
        "log = logging.getLogger('broker')\n"
        "for number in range(50):\n"
        "    log.info('ours number=%d', number)\n"
        "    os.write(2, b'theirs %d\\n' % number)"
    )
    found = [each.get("number", each.get("text")) for each in lines_of(done.stderr)]

    assert found == [said for number in range(50) for said in (number, f"theirs {number}")]


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_says_in_json_what_it_refuses(run, name):
    words = ("broker", "run") if name == "broker" else (name,)
    done = run(*words, "--no-such-option", "--log-format", "json")
    (said,) = lines_of(done.err)

    assert done.code == 2
    assert (said["event"], said["level"]) == ("refused", "error")


def test_an_edge_and_a_cloud_with_workers_say_all_in_json(start, tiny_package, source, brokers, watch):
    place = ("--broker", brokers.start(), "--deployment", "d", "--log-format", "json")
    cloud = start("cloud", tiny_package.path, *place, "--workers", "1", env={**os.environ, "PYTHONWARNINGS": "always"})
    watch(place[1]).wait_for_cloud()
    edge = start("edge", tiny_package.path, *place, "--device", "n", "--source", source, "--cut", "op000")
    done = edge.done()
    cloud.send_signal(signal.SIGTERM)
    served = cloud.done()

    assert (done.code, served.code) == (0, 0)
    assert "edge runs" in {each["event"] for each in lines_of(done.err)}
    (serves,) = [each for each in lines_of(served.err) if each["event"] == "cloud serves"]
    assert serves["deployment"] == "d"
    assert serves["package"].startswith(f"tiny:{tiny_package.digest[:16]}")
    assert serves["cuts"].split(",") == [cut.id for cut in tiny_package.cuts]
    assert serves["workers"] == 1


def test_ctrl_c_is_said_in_json(start, tiny_package, source, brokers):
    place = ("--broker", brokers.start(), "--deployment", "d", "--log-format", "json")
    edge = start("edge", tiny_package.path, *place, "--device", "n", "--source", source, "--cut", "op000")
    said = []
    for line in edge.stderr:
        said.append(line)
        if "no cloud is present" in line:
            break
    edge.send_signal(signal.SIGINT)
    for line in edge.stderr:
        said.append(line)
        if "stopping" in line:
            break
    edge.send_signal(signal.SIGINT)
    done = edge.done()

    assert done.code == 130
    assert lines_of("".join(said) + done.err)[-1]["reason"] == "interrupted"
    assert [json.loads(line)["deployment"] for line in said if "no cloud is present" in line] == ["d"]


def test_converting_says_nothing_that_is_not_json(run, demo_model, tmp_path):
    with np.load(demo_model.with_suffix(".npz")) as data:
        np.save(tmp_path / "calibration.npy", data["calibration"])
    words = ("--calibration", tmp_path / "calibration.npy", "--preprocess", "unit", "-o", tmp_path / "made.tflsplit")
    done = run("convert", demo_model, *words, "--log-format", "json")

    assert done.code == 0, done.err
    lines_of(done.err)


@pytest.mark.parametrize(
    ("words", "is_json"),
    [(("--log-format", "json"), True), (("--log-format=json",), True), (("--log-format", "text"), False), ((), False)],
)
def test_ctrl_c_while_modules_are_imported_is_a_line_of_the_asked_format(words, is_json):
    code = "import os, signal; from tflsplit.cli import interrupts; interrupts.end_at_once(); os.kill(os.getpid(), 2)"
    done = subprocess.run([sys.executable, "-c", code, "edge", *words], capture_output=True, text=True, check=False)

    assert done.returncode == 130
    if is_json:
        (line,) = lines_of(done.stderr)
        assert (line["event"], line["reason"]) == ("refused", "interrupted")
    else:
        assert done.stderr == "tflsplit: interrupted\n"
