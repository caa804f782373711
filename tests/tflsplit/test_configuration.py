"""Settings out of a file and its drop-ins, each with its place."""

import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest

from tflsplit import configuration
from tflsplit.configuration import Entry


@pytest.fixture
def file(tmp_path):
    return tmp_path / "edge.toml"


def read(file, text):
    file.write_text(text)
    return configuration.read(file, "edge")


def test_entries_know_their_lines(file):
    found = read(file, '# comment\n[edge]\ndevice = "cam1"  # one\n\n  rate=5\n')

    assert found.problems == ()
    assert found.entries == (Entry("device", "cam1", f"{file}:3"), Entry("rate", 5, f"{file}:5"))


def test_drop_ins_come_after_the_file_in_the_order_of_their_names(file):
    folder = configuration.drop_in_folder(file)
    folder.mkdir()
    for name in ("90-last.toml", "10-first.toml", "ignored.txt"):
        (folder / name).write_text(f'[edge]\ndevice = "{name}"\n')
    found = read(file, '[edge]\ndevice = "cam1"\n')

    assert folder == file.parent / "edge.d"
    assert [entry.value for entry in found.entries] == ["cam1", "10-first.toml", "90-last.toml"]


def test_a_line_in_a_text_of_several_lines_is_not_taken_for_a_key(file):
    found = read(file, '[edge]\nsource = """\ndevice = "no"\n"""\ndevice = "yes"\n')

    assert [entry.place for entry in found.entries] == [f"{file}:2", str(file)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('device = "cam1"\n', ":1: device stands outside of any table, expected it below [edge]"),
        ("[cloud]\nworkers = 2\n", ":1: table [cloud] is not read, expected [edge]"),
        ("edge = 3\n", ":1: edge is a value, expected the table [edge]"),
        ("[edge]\nrate = \n", ": is no TOML: Invalid value (at line 2, column 8)"),
        ("[edge]\nrate = 1\nrate = 2\n", ": is no TOML: Cannot overwrite a value (at line 3, column 9)"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(file, text, problem):
    assert read(file, text).problems == (f"{file}{problem}",)


def test_a_file_that_cannot_be_read_is_a_problem_and_so_is_one_that_is_no_text(file):
    assert configuration.read(file, "edge").problems == (f"{file}: cannot be read (No such file or directory)",)
    file.write_bytes(b"[edge]\n\xff")
    assert configuration.read(file, "edge").problems == (f"{file}: is no UTF-8 text (byte 7)",)


def test_a_broken_drop_in_hides_nothing_else_that_is_wrong(file):
    folder = configuration.drop_in_folder(file)
    folder.mkdir()
    (folder / "a.toml").write_text("[[[")
    (folder / "b.toml").write_text("[other]\n")
    found = read(file, "[edge]\nrate = 1\n")

    assert len(found.problems) == 2
    assert len(found.entries) == 1


@hypothesis.given(st.binary(max_size=200))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_no_file_of_whatever_bytes_is_a_crash(tmp_path: pathlib.Path, data: bytes):
    file = tmp_path / "edge.toml"
    file.write_bytes(data)
    found = configuration.read(file, "edge")

    assert all(isinstance(problem, str) for problem in found.problems)


@pytest.mark.parametrize("key", ["password", "mqtt-password", "mqtt_password", "PASSWD", "token", "api-secret", "pin"])
def test_names_of_secrets_are_known(key):
    assert configuration.is_secret(key)


@pytest.mark.parametrize("key", ["password-file", "key", "pins", "compass", "spin"])
def test_other_names_are_no_secrets(key):
    assert not configuration.is_secret(key)


def test_a_byte_order_mark_is_left_out(file):
    found = read(file, "\ufeff[edge]\ndevice = 'cam1'\n")

    assert found.problems == ()
    assert found.entries == (Entry("device", "cam1", f"{file}:2"),)
