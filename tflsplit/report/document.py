"""What all pages share: an HTML document that loads nothing else (no scripts; pictures are inside), and its tables."""

import html
from collections.abc import Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.15em; margin-top: 2em; }
p.answer { font-size: 1.15em; background: #eef5ff; border-left: 4px solid #2563a8; padding: .6em 1em; }
figure { margin: 1em 0; } figcaption { color: #57606a; } svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 12.5px; max-width: 100%; }
th, td { padding: .2em .55em; border-bottom: 1px solid #d8dee4; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } td.number, th.number { text-align: right; white-space: nowrap; }
td:first-child { white-space: nowrap; }
tr.choice { background: #dff3e4; font-weight: 600; } tr.infeasible { color: #8c959f; }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; } table { font-size: 8.5px; } tr, figure { break-inside: avoid; }
}
@page { margin: 12mm; }
"""


def render(title: str, sections: Sequence[str]) -> str:
    """`sections` are HTML; the title is text."""
    escaped = html.escape(title)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escaped}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{escaped}</h1>{''.join(sections)}</body></html>\n"
    )


def paragraph(text: str, *, is_answer: bool = False) -> str:
    return f"<p{' class=answer' if is_answer else ''}>{html.escape(text)}</p>"


def listed(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def figure(title: str, svg: str, caption: str) -> str:
    return f"<h2>{html.escape(title)}</h2><figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


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
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: object) -> str:
    if value is None:
        return "∞"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if isinstance(value, float) else str(value)
