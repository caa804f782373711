"""docs/measurements/models.md is what `tests/support/models_page.py` finds: a few rows of it here, all in the sweep."""

import re

import models_page
import openable
import pytest

CHECKOUT = openable.CHECKOUT
SWEEP = (pytest.mark.sweep, pytest.mark.timeout(3600))
# Beyond what another version of TensorFlow and another processor make of the same ranges.
ALLOWED_DB = 3.0
QUICK = {
    "Layers/Keras 3/LayerNormalization",
    "Layers/tf-keras/ELU",
    "Files//`.tflite`, float32",
    "Refused//a layer of one's own",
    "Refused//ONNX",
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def stated():
    """What the page says, by section, column and row."""
    text = (CHECKOUT / "docs" / "measurements" / "models.md").read_text("utf-8")
    rows = {}
    for part in text.split("\n## ")[1:]:
        title, *lines = part.splitlines()
        table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        for name, *cells in table[1:]:
            for column, cell in zip(table[0][-len(cells) :], cells, strict=True):
                rows[f"{title}/{'' if column == 'outcome' else column}/{name}"] = cell.replace("\\|", "|")
    return rows


def cases():
    """Each row of the page but the public files; most of them for the sweep only."""
    for name, case in models_page.by_key(models_page.sections()).items():
        yield pytest.param(name, case, marks=() if name in QUICK else SWEEP, id=name)


@pytest.fixture
def convert_here(monkeypatch):
    monkeypatch.setattr(models_page.convert.child, "run", models_page.here)


@pytest.mark.parametrize(("name", "case"), list(cases()))
@pytest.mark.usefixtures("convert_here")
def test_a_row_is_what_the_script_makes_of_it(stated, name, case):
    found = models_page.outcome_of(case)

    print(f"{name}: {found}")  # shown by -rP
    assert _rounded(found)[0] == _rounded(stated[name])[0]
    assert abs(_rounded(found)[1] - _rounded(stated[name])[1]) <= ALLOWED_DB


@pytest.mark.sweep
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("convert_here")
def test_public_files_are_what_the_page_says(stated, shared_data):
    for case in openable.public(shared_data):
        assert models_page.outcome_of(case) == stated[f"Public files//{case.name}"]


def test_nothing_on_the_page_is_inexact(stated):
    assert len(stated) > 100
    assert not [name for name, cell in stated.items() if "NOT EXACT" in cell]
    assert {cell for cell in stated.values() if not re.match(r"\d+ cuts, all exact|refused: |-$", cell)} == set()


def _rounded(outcome):
    """The words, and the dB apart from them."""
    words, _, decibels = outcome.partition(" exact, ")
    return words, float(decibels.removesuffix(" dB") or 0)
