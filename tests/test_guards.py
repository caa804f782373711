"""What holds for the whole project: the names it owns, its layers, its size, and what it must not say."""

import ast
import importlib
import importlib.metadata
import inspect
import itertools
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import h5py
import pytest

from tflsplit import errors
from tflsplit.cli import main

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("tflsplit", "converters", "edge_runtime", "broker")
LATE = CHECKOUT / "tflsplit" / "values" / "classes.py"
PROGRAMS = (*PACKAGES, "examples", "benchmarks", "docs")
MODULE_LINES = 400
FUNCTION_LINES = 60
FOLDER_MODULES = 15
COMMANDS, COMMAND_MODULES = "tflsplit/cli/commands", 30
STEM = 5  # letters; what begins alike reads alike in a list of files


def python_files(*folders: str) -> list[pathlib.Path]:
    return sorted(file for folder in folders for file in (CHECKOUT / folder).rglob("*.py"))


def text_files() -> Iterator[pathlib.Path]:
    """Everything that we wrote, except this file, which has to name what it looks for."""
    yield from (file for pattern in ("*.md", "*.toml", "Makefile", ".ci/run") for file in CHECKOUT.glob(pattern))
    for folder in (*PROGRAMS, "tests"):
        for suffix in ("py", "md", "toml", "yaml", "yml", "conf", "sh", "service", "c"):
            yield from ((CHECKOUT / folder).rglob(f"*.{suffix}"))


def lines_that_match(pattern: str) -> list[str]:
    return [
        f"{file.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for file in text_files()
        if file != pathlib.Path(__file__).resolve()
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        if re.search(pattern, line)
    ]


def where(file: pathlib.Path, node: ast.stmt) -> str:
    return f"{file.relative_to(CHECKOUT)}:{node.lineno}"


@pytest.mark.parametrize("name", PACKAGES)
def test_the_imported_package_is_ours_and_not_another_of_that_name(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None, f"{name} is a bare folder, not a package"

    if pathlib.Path(file).resolve() != CHECKOUT / name / "__init__.py":
        installed = importlib.metadata.distribution("tflsplit").locate_file(f"{name}/__init__.py")
        assert pathlib.Path(file).samefile(str(installed))


def test_all_four_packages_come_from_one_place() -> None:
    files = [pathlib.Path(str(importlib.import_module(name).__file__)) for name in PACKAGES]

    assert len({file.resolve().parents[1] for file in files}) == 1, files


def test_importing_tflsplit_imports_nothing_else() -> None:
    loaded = "import sys; before = set(sys.modules); import tflsplit; print(*sorted(set(sys.modules) - before))"
    child = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=False)

    assert child.stdout.split() == ["tflsplit"], child.stderr


def test_folders_of_tests_are_no_packages_that_could_hide_ours() -> None:
    assert not list((CHECKOUT / "tests").rglob("__init__.py"))


IMPORT_ALL = """
import importlib, pkgutil, sys
for name in {packages}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
            heavy = {{"tensorflow", "keras", "tf_keras"}} & set(sys.modules)
            assert not heavy, f"{{module.name}} imports {{heavy}}"
"""


@pytest.mark.parametrize("packages", [("tflsplit", "edge_runtime", "broker"), ("converters",)], ids=" ".join)
def test_importing_every_module_loads_no_tensorflow(packages: tuple[str, ...]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL.format(packages=packages)], capture_output=True, text=True, check=False
    )

    assert child.returncode == 0, child.stderr


def test_modules_are_short_enough_to_read() -> None:
    lengths = {str(file): len(file.read_text("utf-8").splitlines()) for file in python_files(*PROGRAMS)}

    assert not {file: length for file, length in lengths.items() if length > MODULE_LINES}


def folders_of_modules() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for file in python_files(*PACKAGES):
        if not file.name.startswith("__"):
            names.setdefault(str(file.parent.relative_to(CHECKOUT)), []).append(file.stem)
    return names


def test_a_folder_holds_few_enough_modules_to_find_one() -> None:
    crowded = {folder: len(names) for folder, names in folders_of_modules().items() if len(names) > FOLDER_MODULES}

    assert set(crowded) <= {COMMANDS}
    assert crowded.get(COMMANDS, 0) <= COMMAND_MODULES


def test_neighbours_are_told_apart_by_more_than_an_ending() -> None:
    neighbours = [
        (f"{folder}/{one}", other)
        for folder, names in folders_of_modules().items()
        for one, other in itertools.permutations(names, 2)
    ]
    alike = [(one, other) for one, other in neighbours if other.startswith(pathlib.PurePath(one).name[:-1])]
    share_a_stem = {one for one, other in neighbours if pathlib.PurePath(one).name[:STEM] == other[:STEM]}

    assert not alike
    assert len(share_a_stem) <= 0.06 * sum(map(len, folders_of_modules().values())), share_a_stem


def test_no_module_hides_one_of_the_standard_library() -> None:
    hiding = [
        f"{folder}/{name}"
        for folder, names in folders_of_modules().items()
        for name in names
        if name in sys.stdlib_module_names and folder != COMMANDS  # a command's file is named as people type it
    ]

    assert not hiding


def test_the_picture_of_the_imports_is_what_the_code_says() -> None:
    command = [sys.executable, CHECKOUT / "docs" / "imports.py", "--check"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)

    assert child.returncode == 0, child.stdout + child.stderr


def test_the_page_of_scale_is_what_was_measured() -> None:
    command = [sys.executable, CHECKOUT / "benchmarks" / "scale.py", "--check"]
    places = os.pathsep.join(filter(None, (str(CHECKOUT / "benchmarks"), os.environ.get("PYTHONPATH"))))
    surroundings = os.environ | {"PYTHONPATH": places}  # PYTHONSAFEPATH keeps the script's own folder out
    child = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)

    assert child.returncode == 0, child.stdout + child.stderr


def test_functions_fit_a_screen() -> None:
    long = [
        f"{where(file, node)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for file in python_files(*PROGRAMS)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]

    assert not long


def test_imports_are_absolute() -> None:
    relative = [
        where(file, node)
        for file in python_files(*PROGRAMS, "tests")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert not relative


def test_data_classes_are_those_that_compile_late() -> None:
    early = [
        where(file, node)
        for file in python_files(*PACKAGES)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses" and file != LATE
    ]

    assert not early, "import them from tflsplit.values.classes"


def test_the_tree_of_errors_is_the_one_drawn() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for branch, name in re.findall(r"^    ((?:│   |    |├── |└── )*)(\w+Error)\b", str(errors.__doc__), re.MULTILINE):
        depth = len(branch) // 4
        drawn[name] = above[depth - 1] if depth else "Exception"
        above[depth:] = [name]
    defined = {
        name: kind.__base__.__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__ and not name.startswith("_")
    }

    assert defined == drawn


def test_layers_hold() -> None:
    pytest.importorskip("importlinter")
    child = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert child.returncode == 0, child.stdout + child.stderr


# What turns bytes into code or into a command, and what does so unless it is told not to.
RUNS_BYTES = frozenset(
    {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pty.spawn", "yaml.load", "torch.load"}
    | {"subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"}
)
UNPICKLING_MODULES = frozenset(
    {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle"}
)


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in UNPICKLING_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLING_MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            if name in RUNS_BYTES or options.get("shell", "False") != "False":
                yield ast.unparse(node)
            if name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from dill import loads",
        "eval(x)",
        "yaml.load(x)",
        "subprocess.run(x, shell=True)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_the_guard_against_running_bytes_sees_what_it_is_there_for(code: str) -> None:
    assert list(unsafe_calls(ast.parse(code)))


def test_nothing_that_is_installed_unpickles_evaluates_or_asks_a_shell() -> None:
    found = [
        f"{file.relative_to(CHECKOUT)}: {call}"
        for file in python_files(*PACKAGES)
        for call in unsafe_calls(ast.parse(file.read_text("utf-8")))
        if (file, call) != (LATE, "exec(code, scope)")  # as the standard library does for the same
    ]

    assert not found


def test_nothing_is_left_to_be_done_later() -> None:
    assert not lines_that_match(r"\b(TODO|FIXME|XXX)\b")


@pytest.mark.parametrize(
    "pattern",
    [
        r"pip install '?tflsplit(\[|'| |$)",  # no public index has it; see tflsplit/extras.py
        r"/work/",
        r"/opt/(pypi|wheels)",
        r"\b(pypi\.org|pythonhosted\.org|deb\.debian\.org)\b",
        r"(?i)\bissues? #?\d+",
        r"(?<![\w/\[(&#])#\d{1,4}\b(?![\w-])",  # `owner/name#12` and links name someone else's threads and are welcome
    ],
)
def test_files_speak_of_the_project_and_not_of_where_it_was_made(pattern: str) -> None:
    assert not lines_that_match(pattern)


def test_only_the_optional_data_stand_outside_the_checkout() -> None:
    speaking = lines_that_match(r"\.\./shared|parent / \"shared\"")

    assert {line.split(":")[0] for line in speaking} <= {"tests/conftest.py"}


def release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_demo_model_opens_in_the_oldest_keras_that_we_take() -> None:
    oldest = re.search(r'"keras>=([\d.]+)', (CHECKOUT / "pyproject.toml").read_text("utf-8"))
    with h5py.File(CHECKOUT / "tflsplit" / "demo" / "digits.h5") as file:
        saved_by = str(file.attrs["keras_version"])

    assert oldest is not None
    assert release(saved_by) <= release(oldest[1]), f"saved by Keras {saved_by}; older ones may refuse it"


def test_every_test_that_the_documents_name_is_there() -> None:
    named = {
        (place, name)
        for document in (CHECKOUT / "docs").glob("*.md")
        for place, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text("utf-8"))
    }
    there = {
        (place, node.name)
        for place in {place for place, _ in named}
        if (CHECKOUT / place).is_file()
        for node in ast.walk(ast.parse((CHECKOUT / place).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }

    missing = named - there

    assert len(named) > 40
    assert not missing


def test_every_import_that_the_documents_show_works() -> None:
    ours = re.compile(rf"^ *(from (?:{'|'.join(PACKAGES)})[.\w]* import .+|import tflsplit.*)$", re.MULTILINE)
    shown = {line for page in (CHECKOUT / "docs").glob("*.md") for line in ours.findall(page.read_text("utf-8"))}

    assert shown
    subprocess.run([sys.executable, "-c", "\n".join(shown)], check=True)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command below `tflsplit`, groups too, with the words that a person types."""
    pending: list[tuple[str, click.Command]] = [("tflsplit", main.cli)]
    while pending:
        words, command = pending.pop()
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=words)
            children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
            pending += [
                (f"{words} {name}", child) for name, child in children if child is not None and not child.hidden
            ]


def test_every_command_and_option_has_help() -> None:
    silent = [words for words, command in commands() if not command.get_short_help_str()]
    silent += [
        f"{words} {option.opts[0]}"
        for words, command in commands()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]

    assert not silent


def test_every_command_stands_in_the_page_that_the_readme_sends_people_to() -> None:
    names = [words for words, _ in commands()]
    page = (CHECKOUT / "docs" / "using.md").read_text("utf-8")

    assert "](docs/using.md)" in (CHECKOUT / "README.md").read_text("utf-8")
    assert not [words for words in names if words not in page]
