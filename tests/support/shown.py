"""Runs the Python of a page or a notebook, and says what it prints: what stands there must be what comes out.

    python tests/support/shown.py docs/python.md examples/first_steps.ipynb    writes down what comes out

A page is Markdown: each ```python block, and what it prints in an ```output block behind it. A notebook is read as the
JSON that it is, and a cell's last expression is shown by its `repr`, as a kernel does: no kernel has to be installed.
"""

import ast
import contextlib
import io
import json
import os
import pathlib
import re
import sys
import tempfile

_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n^```output\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


class Session:
    """Code runs here as in a console: names stay from one piece to the next."""

    def __init__(self, name):
        self._name = name
        self._names = {"__name__": "__main__"}

    def run(self, code, shows_last=False):
        """What the code prints, and the `repr` of its last expression, None where it has none."""
        tree = ast.parse(code, self._name)
        last = None
        if shows_last and tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, self._name, "exec"), self._names)
            value = None if last is None else eval(compile(last, self._name, "eval"), self._names)
        return printed.getvalue(), None if value is None else repr(value)


def page(text, name):
    """The text with what its blocks print in their output blocks."""
    session = Session(name)

    def shown(block):
        printed, _ = session.run(block[1])
        output = f"\n```output\n{printed}```\n" if printed else ""
        return f"```python\n{block[1]}```\n{output}"

    return _BLOCK.sub(shown, text)


def notebook(text, name):
    """The notebook with the outputs of its cells, numbered as a kernel numbers them."""
    whole = json.loads(text)
    session = Session(name)
    for number, cell in enumerate((cell for cell in whole["cells"] if cell["cell_type"] == "code"), start=1):
        printed, value = session.run("".join(cell["source"]), shows_last=True)
        cell["execution_count"] = number
        cell["outputs"] = []
        if printed:
            cell["outputs"].append({"name": "stdout", "output_type": "stream", "text": _lines(printed)})
        if value is not None:
            data = {"data": {"text/plain": _lines(value)}, "execution_count": number, "metadata": {}}
            cell["outputs"].append(data | {"output_type": "execute_result"})
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def run(file):
    """The file as it should be; its code runs in a folder of its own that vanishes."""
    text = file.read_text("utf-8")
    before = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return notebook(text, str(file)) if file.suffix == ".ipynb" else page(text, str(file))
        finally:
            os.chdir(before)


def _lines(text):
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    for place in map(pathlib.Path, sys.argv[1:]):
        place.write_text(run(place.resolve()), "utf-8")
