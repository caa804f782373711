"""A process that can write to one folder, and how its caller takes whatever becomes of it."""

import pathlib

import pytest
import reaching_out

from tflsplit import errors
from tflsplit.confinement import child, rights

confined = pytest.mark.skipif(bool(rights.missing()), reason=f"this kernel has no {rights.missing()}")


@pytest.fixture
def places(tmp_path):
    """A folder for the process, and one outside with a file in it."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("precious")
    return {"inside": str(inside), "outside": str(outside), "given": str(outside / "victim")}


def run(task, places, **options):
    return child.run(task, places, folder=pathlib.Path(places["inside"]), **options)


@confined
def test_a_process_without_rights_reaches_nothing_outside_its_folder(places):
    found = run(reaching_out.attempts, places)
    refused = {"PermissionError", "OSError"}  # a link across would be of another device, it is told
    assert {name: outcome for name, outcome in found.items() if outcome not in refused} == {}
    outside = pathlib.Path(places["outside"])
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_text() == "precious"


def test_it_can_work_in_its_folder_and_read_what_it_was_given(places):
    found = run(reaching_out.allowed, places, readable=[pathlib.Path(places["given"])])
    assert set(found.values()) == {"done"}, found


def test_what_it_says_arrives_without_what_a_terminal_would_obey(places):
    words = []
    assert run(reaching_out.says, places, on_word=words.append) == "three"
    assert words == ["one", " [2Jtwo "]


def test_its_errors_of_ours_are_raised_with_their_words(places):
    with pytest.raises(errors.CutError, match=r"^no such  \[2Jcut$"):
        run(reaching_out.refuses, places)


def test_a_bug_is_shown_with_its_traceback(places):
    with pytest.raises(child.BugError, match="in has_a_bug"):
        run(reaching_out.has_a_bug, places)


def test_a_missing_library_is_named_as_if_it_were_missing_here(places):
    with pytest.raises(ModuleNotFoundError) as missing:
        run(reaching_out.lacks_a_library, places)
    assert missing.value.name == "keras"


def test_a_crash_is_told_with_its_signal_and_last_words(places):
    with pytest.raises(child.CrashedError, match=r"^ended by SIGSEGV: last  \[2Jwords$"):
        run(reaching_out.crashes, places)


def test_one_that_hangs_is_ended_when_its_time_is_up(places):
    with pytest.raises(child.CrashedError, match=r"did not end within 0\.5 s"):
        run(reaching_out.hangs, places, timeout_s=0.5)


@pytest.mark.parametrize("babble", ["[1]\n", "no JSON\n", "{" * 100_000 + "\n", '{"error": "Exception"}\n'])
def test_an_answer_that_is_none_is_not_taken_for_one(places, babble):
    with pytest.raises((child.CrashedError, child.BugError)):
        run(reaching_out.babbles, {**places, "babble": babble})


def test_where_the_kernel_cannot_take_rights_it_is_said(monkeypatch):
    monkeypatch.setattr(rights.landlock, "version", lambda: 0)
    assert rights.finding().detail == "conversion is not sandboxed: this kernel has no Landlock"
