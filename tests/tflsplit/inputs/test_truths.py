import pytest

from tflsplit import errors
from tflsplit.inputs import truths

LABELS = ("cat", "dog")


def files(folder, *names):
    return [folder / name for name in names]


def test_folders_are_classes_by_label_or_by_number(tmp_path):
    found = truths.of_folders(tmp_path, files(tmp_path, "dog/1.png", "cat/deep/2.png", "1/3.png"), LABELS, 2)

    assert found == (("dog", "cat", "dog"), "")
    assert truths.of_folders(tmp_path, files(tmp_path, "07/1.png"), (), 10) == (("7",), "")


def test_folders_that_are_no_classes_tell_nothing_and_that_is_said(tmp_path):
    found, remark = truths.of_folders(tmp_path, files(tmp_path, "monday/1.png"), LABELS, 2)

    assert found is None
    assert "(monday) are no classes" in remark
    assert truths.of_folders(tmp_path, files(tmp_path, "1.png"), LABELS, 2) == (None, "")


@pytest.mark.parametrize(("name", "says"), [("horse/2.png", "'horse' is no class"), ("2.png", "pictures beside them")])
def test_classes_for_some_pictures_only_are_refused(tmp_path, name, says):
    with pytest.raises(errors.DataError, match=says):
        truths.of_folders(tmp_path, files(tmp_path, "cat/1.png", name), LABELS, 2)
