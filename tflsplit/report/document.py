"""What all pages share: an HTML document that loads nothing else (no scripts; pictures are inside), and its tables.

The style sheet is `style.css` beside this file; the live page of `tflsplit watch` has it too.
"""

import html
from collections.abc import Sequence
from functools import cache
from importlib import resources


@cache
def style() -> str:
    """The style sheet of every page."""
    return (resources.files("tflsplit.report") / "style.css").read_text("utf-8")


def render(title: str, sections: Sequence[str]) -> str:
    """`sections` are HTML; the title is text."""
    escaped = html.escape(title)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escaped}</title><style>{style()}</style></head><body><h1>{escaped}</h1>{''.join(sections)}</body></html>\n"
    )


def paragraph(text: str, *, is_answer: bool = False) -> str:
    return f"<p{' class=answer' if is_answer else ''}>{html.escape(text)}</p>"


def listed(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def figure(title: str, svg: str, caption: str, *, describes: str = "") -> str:
    """`describes` is what the drawing says, for those who do not see it; without it that is the caption."""
    said = html.escape(f"{title}. {describes or caption}")
    named = svg.replace("<svg", f"<svg role='img' aria-label='{said}'", 1)
    below = f"<figcaption>{html.escape(caption)}</figcaption>"
    return f"<h2>{html.escape(title)}</h2><figure><div class=drawing>{named}</div>{below}</figure>"


def table(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, Sequence[object]]]) -> str:
    """Columns are (title, whether it holds numbers), rows (their CSS class, their cells)."""

    def cell(tag: str, text: object, is_number: bool) -> str:
        return f"<{tag}{' class=number' if is_number else ''}>{html.escape(str(text))}</{tag}>"

    head = "".join(cell("th", name, is_number) for name, is_number in columns)
    body = "".join(
        f"<tr class='{kind}'>"
        + "".join(cell("td", text, is_number) for text, (_, is_number) in zip(cells, columns, strict=True))
        + "</tr>"
        for kind, cells in rows
    )
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def number(value: object) -> str:
    if value is None:
        return "∞"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if isinstance(value, float) else str(value)
