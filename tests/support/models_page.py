"""docs/measurements/models.md: what opens, how exact and how near to float it is, and what is refused with which line.

    python tests/support/models_page.py ROWS.jsonl PUBLIC > docs/measurements/models.md

ROWS.jsonl keeps what was found, so that a run that was stopped goes on; PUBLIC is the folder of public models. About
half an hour on two cores; each case is told on stderr.
"""

import json
import pathlib
import sys
import tempfile
import time

import networks
import openable

from converters import convert

HEAD = """# Models: what opens, and what is refused

Written by `tests/support/models_page.py`; `make test-all` makes every row again and holds it against this page. Each
model was converted as by `tflsplit convert`, every cut proven as by `tflsplit verify` on three random samples, and int8
compared with float on calibration samples: dB is signal to error, each output's mean left out; of several outputs the
lowest.

All weights are random but those of public files and of PyTorch's digits, so dB tells how a form of network bears int8
and not how right a trained one is. Normalisations have the statistics of the samples that calibrate.
"""
_WORDS = {
    "Networks": """Pictures of 64 to 96 pixels. Each operator rounds, and deep networks add that up.
`tflsplit inspect --errors` shows where ([losses.md](../losses.md)); a float tail does without it.""",
    "Layers": """Each stands between a convolution or a dense layer before it and a dense layer behind it. A dash: that
Keras has no such layer, or not under that name.""",
    "Files": """The same small network as each kind of file. With random weights its outputs hardly vary, which keeps
its dB low; the zip comes without samples, and made-up ones fit it badly.""",
    "Refused": "The line that is printed, behind the name of the file.",
    "Public files": """As TensorFlow, MLCommons, Google Coral, MediaPipe and others publish them; no samples were given.
Int8 files have no float model beside them to compare with.""",
}


def sections(public=None):
    """Title → the columns of its table, with their cases."""
    found = {
        "Networks": {"": [openable.network(name) for name in networks.NETWORKS]},
        "Layers": {library: openable.layers(library) for library in (openable.KERAS_3, openable.KERAS_2)},
        "Files": {"": openable.files()},
        "Refused": {"": openable.refused()},
    }
    if public is not None:
        found["Public files"] = {"": openable.public(public)}
    return found


def key(section, column, case):
    return f"{section}/{column}/{case.name}"


def by_key(found):
    """Every case by what its row is known as."""
    return {
        key(section, column, case): case
        for section, columns in found.items()
        for column, cases in columns.items()
        for case in cases
    }


def here(task, request, *, on_word, **_):
    """In place of the sandbox, which has tests of its own: TensorFlow is loaded once and not for each case."""
    return task(request, on_word)


def outcome_of(case):
    with tempfile.TemporaryDirectory() as folder:
        return str(openable.outcome(case, pathlib.Path(folder)))


def run(found, rows_file):
    """Every outcome by its key; those that the file lacks are made and written to it."""
    rows = dict(json.loads(line) for line in rows_file.read_text("utf-8").splitlines()) if rows_file.exists() else {}
    for name, case in by_key(found).items():
        if name in rows:
            continue
        began = time.monotonic()
        rows[name] = outcome_of(case)
        print(f"{name}: {rows[name]} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
        with rows_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([name, rows[name]]) + "\n")
    return rows


def page(found, rows):
    parts = [HEAD]
    for section, columns in found.items():
        names = dict.fromkeys(case.name for cases in columns.values() for case in cases)
        parts.append(f"## {section}\n\n{_WORDS[section]}\n")
        parts.append("\n".join(_lines(section, columns, names, rows)) + "\n")
    return "\n".join(parts)


def _lines(section, columns, names, rows):
    yield f"| | {' | '.join(column or 'outcome' for column in columns)} |"
    yield f"|---{'|---' * len(columns)}|"
    for name in names:
        cells = [rows.get(f"{section}/{column}/{name}", "-").replace("|", "\\|") for column in columns]
        yield f"| {name} | {' | '.join(cells)} |"


def main(rows_file, public=None):
    convert.child.run = here
    found = sections(public and pathlib.Path(public))
    print(page(found, run(found, pathlib.Path(rows_file))), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
