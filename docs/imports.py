"""Draws who imports whom: `docs/imports.svg`, and the table of wings in `docs/architecture.md`.

    python docs/imports.py            write both anew
    python docs/imports.py --check    exit 1 if one of them is not what the code says

A wing is a folder, or a module that stands beside the folders of its package. Arrows that follow from two others are
left out of the picture; the table names every import.
"""

import ast
import html
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("converters", "edge_runtime", "broker", "tflsplit")
PICTURE, TEXT = ROOT / "docs" / "imports.svg", ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- wings: written by docs/imports.py -->\n", "<!-- end of wings -->\n"

WIDTH, HEIGHT, GAP, MARGIN = 96, 26, 14, 20
COLOURS = {"converters": "#7a5195", "edge_runtime": "#2f6f4f", "broker": "#1f5f99", "tflsplit": "#8a5a00"}

Graph = dict[str, set[str]]


def wing_of(module: str) -> str:
    """`broker.mqtt.session` is in `broker.mqtt`; a package's own `__init__` is in no wing."""
    return ".".join(module.split(".")[:2])


def modules() -> dict[str, Path]:
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        if file.parent != ROOT / package or not file.name.startswith("__")
    }


def imported(file: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                module = f"{node.module}.{name.name}"
                yield from (found for found in (module, node.module) if found in known)


def read() -> Graph:
    """Each wing with the wings that its modules import."""
    known = modules()
    graph: Graph = {wing_of(module): set() for module in known}
    for module, file in known.items():
        graph[wing_of(module)] |= {wing_of(other) for other in imported(file, known)} - {wing_of(module)}
    return graph


def reduced(graph: Graph) -> Graph:
    """Without the arrows that follow from two others."""

    def reach(wing: str) -> set[str]:
        return graph[wing].union(*(reach(other) for other in graph[wing]))

    reached = {wing: reach(wing) for wing in graph}
    return {wing: others - set().union(*(reached[other] for other in others)) for wing, others in graph.items()}


def floors(graph: Graph) -> dict[str, int]:
    """The ground floor imports nothing; every other wing stands one above the highest that it imports."""
    found: dict[str, int] = {}

    def floor(wing: str) -> int:
        if wing not in found:
            found[wing] = 1 + max((floor(other) for other in graph[wing]), default=-1)
        return found[wing]

    for wing in graph:
        floor(wing)
    return found


def purpose(wing: str) -> str:
    place = ROOT.joinpath(*wing.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    words = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(words.split("\n\n")[0].split())


def table(graph: Graph) -> str:
    lines = []
    for package in reversed(PACKAGES):
        lines += ["", f"**`{package}`**", "", "| wing | holds | imports |", "|---|---|---|"]
        height = floors(graph)
        for wing in sorted((wing for wing in graph if wing.startswith(f"{package}.")), key=lambda w: (height[w], w)):
            ours = sorted(other.removeprefix(f"{package}.") for other in graph[wing] if other.startswith(f"{package}."))
            others = sorted(other for other in graph[wing] if not other.startswith(f"{package}."))
            if wing == "tflsplit.cli":
                ours, others = ["all wings of all packages"], []
            lines.append(
                f"| `{wing.partition('.')[2]}` | {purpose(wing)} | {', '.join([*ours, *others]) or 'nothing'} |"
            )
    return "\n".join([*lines, "", ""])


def placed(graph: Graph) -> tuple[dict[str, tuple[float, float]], float, float]:
    """The left upper corner of each wing's box, and the width and height of the whole."""
    height = floors(graph)
    rows: dict[tuple[str, int], list[str]] = {}
    for wing in sorted(graph):
        rows.setdefault((wing.partition(".")[0], height[wing]), []).append(wing)
    top = max(height.values())
    places, left = {}, float(MARGIN)
    for package in PACKAGES:
        widest = max(len(row) for (owner, _), row in rows.items() if owner == package)
        for (owner, floor), row in rows.items():
            if owner == package:
                shift = (widest - len(row)) * (WIDTH + GAP) / 2
                for number, wing in enumerate(row):
                    places[wing] = (left + shift + number * (WIDTH + GAP), MARGIN + 30 + (top - floor) * (HEIGHT + 30))
        left += widest * (WIDTH + GAP) + 2 * GAP
    return places, left, MARGIN * 2 + 30 + top * (HEIGHT + 30) + HEIGHT


def picture(graph: Graph) -> str:
    places, width, height = placed(graph)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Wings of the four packages and the imports between them">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for wing, others in sorted(reduced(graph).items()):
        for other in sorted(others):
            (x1, y1), (x2, y2) = places[wing], places[other]
            a, b, c, d = x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2, y2
            colour = COLOURS[wing.partition(".")[0]]
            parts.append(
                f'<path d="M{a:g} {b:g} C{a:g} {b + 24:g} {c:g} {d - 24:g} {c:g} {d:g}" fill="none" '
                f'stroke="{colour}" stroke-opacity="0.45"/>'
            )
    for wing, (x, y) in sorted(places.items()):
        package, _, name = wing.partition(".")
        parts.append(
            f'<g><title>{html.escape(purpose(wing))}</title><rect x="{x:g}" y="{y:g}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="5" fill="{COLOURS[package]}"/><text x="{x + WIDTH / 2:g}" y="{y + 17:g}" '
            f'text-anchor="middle" fill="#ffffff">{name}</text></g>'
        )
    for package in PACKAGES:
        own = [x for wing, (x, _) in places.items() if wing.startswith(f"{package}.")]
        middle = (min(own) + max(own) + WIDTH) / 2
        parts.append(
            f'<text x="{middle:g}" y="{MARGIN + 6}" text-anchor="middle" font-size="16" '
            f'fill="{COLOURS[package]}">{package}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def main() -> int:
    graph = read()
    text = TEXT.read_text("utf-8")
    before, rest = text.split(BEGIN)
    made = {PICTURE: picture(graph), TEXT: before + BEGIN + table(graph) + END + rest.split(END)[1]}
    stale = [file for file, content in made.items() if not file.is_file() or file.read_text("utf-8") != content]
    if "--check" in sys.argv[1:]:
        for file in stale:
            print(f"{file.relative_to(ROOT)} is not what the code says: run `python docs/imports.py`")
        return 1 if stale else 0
    for file in stale:
        file.write_text(made[file], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
