"""What commands log: for people, for journald, as JSON, seldom, and without secrets."""

import io
import json
import logging
import os

import click
import pytest

from tflsplit.cli.output import logs


@pytest.fixture
def written():
    """A logger of the test's own, the stream it ends in, and its handler; time stands until the test moves it."""

    class Writer:
        def __init__(self):
            self.now_s = 0.0
            self.stream = io.StringIO()
            self.handler = logs.Handler(self.stream, clock=lambda: self.now_s)
            self.log = logging.Logger("tflsplit.test")
            self.log.addHandler(self.handler)

        def lines(self):
            return self.stream.getvalue().splitlines()

    return Writer()


def test_json_has_the_pairs_as_fields_of_their_own_types(written):
    written.handler.setFormatter(logs.JsonFormatter(is_journal=False))
    written.log.warning("no answers deployment=%s unanswered=%d; sending again", "plant1", 3)
    entry = json.loads(written.lines()[0])

    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning", "logger": "tflsplit.test", "event": "no answers; sending again", "deployment": "plant1",
        "unanswered": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("template", "given", "event", "pairs"),
    [
        ("started", (), "started", {}),
        ("broker=%s speaks no MQTT 5 (%s), trying 3.1.1", ("b:1", "why"), "speaks no MQTT 5 (…), trying 3.1.1",
         {"broker": "b:1", "text": "broker=b:1 speaks no MQTT 5 (why), trying 3.1.1"}),
        ("at 100%% load=%.1f", (1.25,), "at 100%", {"load": 1.25}),
        ("lost reason=%r", (None,), "lost", {"reason": None}),
        ("lost reason=%s", (ValueError("a=b c"),), "lost", {"reason": "a=b c"}),
        ("remedy='chmod 600' file=%s", ("f",), "remedy='chmod 600'", {"file": "f"}),
        ("level=%s time=%s", ("a", "b"), "", {"level": "a", "time": "b"}),
    ],
)  # fmt: skip
def test_phrase_and_pairs_of_a_template(template, given, event, pairs):
    record = logging.LogRecord("tflsplit.test", logging.INFO, "", 0, template, given, None)

    assert logs.parts(record) == (event, pairs)


def test_fields_of_our_own_are_not_overwritten(written):
    written.handler.setFormatter(logs.JsonFormatter(is_journal=False))
    written.log.info("odd level=%s", "mine")
    entry = json.loads(written.lines()[0])

    assert (entry["level"], entry["level_"]) == ("info", "mine")


@pytest.mark.parametrize("kind", [logs.TextFormatter, logs.JsonFormatter])
@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "<7>"), ("info", "<6>"), ("warning", "<4>"), ("error", "<3>"), ("critical", "<2>")],
)
def test_journald_is_told_the_priority_of_each_line(written, kind, level, priority):
    written.handler.setFormatter(kind(is_journal=True))
    getattr(written.log, level)("first\nsecond")

    assert [line[:3] for line in written.lines()] == [priority] * (2 if kind is logs.TextFormatter else 1)


def test_only_the_stream_that_systemd_named_is_the_journal(monkeypatch, tmp_path):
    with open(tmp_path / "journal", "w") as stream, open(tmp_path / "other", "w") as other:
        there = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")

        assert logs.is_journal(stream.fileno())
        assert not logs.is_journal(other.fileno())
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not logs.is_journal(stream.fileno())


def test_a_fault_with_every_frame_is_counted_and_not_written_every_time(written):
    for sequence in range(100):
        written.log.error("frame lost sequence=%d reason=%s", sequence, "device gone")
    written.log.error("frame lost sequence=%d reason=%s", 100, "another reason")
    assert [line.rpartition("reason=")[2] for line in written.lines()] == ["device gone"] * 5 + ["another reason"]
    written.now_s = 60.0
    written.handler.setFormatter(logs.TextFormatter(is_journal=False))
    written.log.info("anything")

    assert written.lines()[-2].endswith("sequence=99 reason='device gone' repeated=95")
    assert written.lines()[-1].endswith("anything")


def test_what_was_held_back_is_counted_when_the_process_ends(written):
    written.handler.setFormatter(logs.TextFormatter(is_journal=False))
    for _ in range(8):
        written.log.warning("again")
    written.handler.close()

    assert [line.rpartition("again")[2] for line in written.lines()] == ["", "", "", "", "", " repeated=3"]


def test_ordinary_lines_are_never_held_back(written):
    for _ in range(50):
        written.log.info("state changed")

    assert len(written.lines()) == 50


def test_memory_for_kinds_is_bounded_and_the_counts_of_forgotten_ones_are_told(written):
    for _ in range(7):
        written.log.error("the first")
    for number in range(1000):
        written.log.error("kind %s", "x" * number)

    assert len(written.handler._repeated) <= 256
    assert written.lines().count("the first") == 6


@pytest.mark.parametrize("kind", [logs.TextFormatter, logs.JsonFormatter])
@pytest.mark.parametrize("is_journal", [False, True])
def test_a_password_in_an_address_is_never_written(written, kind, is_journal):
    written.handler.setFormatter(kind(is_journal=is_journal))
    written.log.error("lost url=%s", "amqp://cloud:hunter2@host/v")
    try:
        raise ValueError("cannot connect to mqtt://me:hunter2@host")
    except ValueError:
        written.log.exception("failed with mqtts://me:hunter2@host:8883")

    assert "hunter2" not in written.stream.getvalue()
    assert "cloud:***@host" in written.stream.getvalue()


def test_a_refusal_in_json_is_one_object(run):
    done = run("inspect", "/no/such/model.h5", "--log-format", "json")
    entry = json.loads(done.err)

    assert (done.code, entry["level"]) == (1, "error")
    assert (entry["event"], "/no/such/model.h5" in entry["reason"]) == ("refused", True)


def test_a_refusal_in_the_journal_has_a_priority(start, tmp_path):
    """The child's stderr is the file that JOURNAL_STREAM names, as systemd would connect it."""
    with open(tmp_path / "journal", "w+") as stream:
        there = os.fstat(stream.fileno())
        process = start(
            "inspect",
            "/no/such/model.h5",
            stderr=stream,
            env={**os.environ, "JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"},
        )
        assert process.wait(60) == 1
        stream.seek(0)
        assert stream.read().startswith("<3>tflsplit: ")


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ([], "INFO"),
        (["--log-level", "error"], "ERROR"),
        (["--debug"], "DEBUG"),
        (["--debug", "--log-level", "error"], "DEBUG"),
        (["--log-level", "error", "--debug"], "DEBUG"),
    ],
)
def test_levels_choose_what_is_logged(words, level):
    root = logging.getLogger()
    before = root.level
    command = click.Command("test", callback=lambda: None)
    logs.add_options(command)
    try:
        command.main(words, standalone_mode=False)
        assert logging.getLevelName(root.level) == level
    finally:
        root.setLevel(before)
