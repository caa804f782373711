"""docs/python.md and the notebook: their code runs, and what they show is what comes out."""

import pathlib

import pytest
import shown

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["docs/python.md", "examples/first_steps.ipynb"])
def test_what_a_document_shows_is_what_its_code_prints(name):
    pytest.importorskip("tensorflow", reason="the documents begin with a conversion, which needs TensorFlow")
    file = CHECKOUT / name

    assert shown.run(file) == file.read_text("utf-8")


def test_a_page_that_shows_something_else_is_found():
    text = "```python\nx = 1\nprint(x)\n```\n\n```output\n2\n```\n\n```python\nx += 1\n```\n\n    x = not run\n"

    assert shown.page(text, "page") == text.replace("output\n2", "output\n1")


def test_the_page_names_every_call_of_the_root():
    import tflsplit

    page = (CHECKOUT / "docs" / "python.md").read_text("utf-8")

    assert not [name for name in tflsplit.__all__ if f"`tflsplit.{name}(" not in page and name != "__version__"]
