"""How `make docs` builds the site out of these pages: Sphinx, which reads Markdown through MyST, in the theme Furo."""

import re

from sphinx.application import Sphinx

project = "tflsplit"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "tflsplit"
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["phone.css"]
default_role = "literal"  # our docstrings write `code` as Markdown does
autodoc_typehints = "none"  # the signature would repeat names of modules that nobody calls
autodoc_member_order = "bysource"
myst_heading_anchors = 4  # pages link to each other's headings
pygments_style = "tango"
highlight_language = "text"
smartquotes = False  # `--option` in help is no dash
# The settings in these files of ours are examples and hold placeholders.
suppress_warnings = ["misc.highlighting_failure"]

# What a checkout has outside of docs/ and the site shows as a page of its own; other files are named, not linked.
_SHOWN = {"../benchmarks/RESULTS.md": "results.md", "../deploy/README.md": "kubernetes.md"}
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")


def _within_the_site(link: re.Match[str]) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    if target in _SHOWN:
        return f"[{text}]({_SHOWN[target]}{anchor})"
    return f"{text} (`{target.removeprefix('../')}`)"


def _keep_links_inside(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _OUTSIDE.sub(_within_the_site, source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls this when it starts."""
    app.connect("source-read", _keep_links_inside)
