"""Files that calls and commands write: whole or not at all, and none replaced unasked."""

import pytest

from tflsplit import errors
from tflsplit.api import files


def test_a_file_that_is_there_is_replaced_only_if_told_to(tmp_path):
    path = tmp_path / "edge.json"
    files.write_whole(path, "old")

    with pytest.raises(errors.SettingsError, match="exists already"):
        files.check_free(path, replaces_existing=False)
    files.check_free(path, replaces_existing=True)
    files.write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_found_before_the_work_begins(tmp_path):
    with pytest.raises(errors.SettingsError, match="no folder"):
        files.check_free(tmp_path / "nowhere" / "edge.json", replaces_existing=False)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()

    with pytest.raises(errors.DeviceError, match="nothing was left"):
        files.write_whole(tmp_path / "taken", "text")
    assert [left.name for left in tmp_path.iterdir()] == ["taken"]
