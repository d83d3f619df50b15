"""What Sphinx is told. Nothing is fetched, when the site is built or when it is viewed."""

from __future__ import annotations

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

import jwt_middleware

project = "wsgi-asgi-jwt-middleware"
version = release = jwt_middleware.__version__
author = "the contributors"
copyright = "the contributors"
html_show_copyright = False

root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 4  # links to headings are GitHub's
default_role = "literal"  # docstrings write `code` as Markdown does
smartquotes = False  # `--` in a sentence is an option, not a dash

UNIMPORTED = [
    "Algorithm",
    "FrozenDict",
    "Held",
    "Model",
    "OAuthError",
    "Pool",
    "Reason",
    "Response",
    "Source",
]
nitpicky = True
# Types of other packages: their pages are elsewhere, and nothing is fetched to find them.
nitpick_ignore_regex = [
    ("py:.*", r"(?!jwt_middleware\b).*"),
    # What applications hand on or read, and don't import.
    ("py:class", rf"jwt_middleware\..*\.({'|'.join(UNIMPORTED)})"),
]

toc_object_entries = False  # each page draws the whole menu, and would be slow with all names in it
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # a list in place of an entry for each
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"{project} {release}"
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}
html_static_path = ["_static"]
html_css_files = ["site.css"]

SECTION = re.compile(r"(?:Args|Attributes|Raises|Returns):")


def with_code_blocks(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Mark what a docstring indents, above its sections, as code: reStructuredText wants `::`."""
    at = next((n for n, line in enumerate(lines) if SECTION.match(line)), len(lines))
    for number in range(at - 1, 1, -1):
        begins = lines[number].startswith("    ") and not lines[number - 1]
        if begins and not lines[number - 2].startswith("    "):
            lines[number:number] = ["::", ""]


def with_plain_properties(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Put a property's docstring back: napoleon takes what stands before a colon for a type."""
    if what == "property":
        lines[:] = [*(inspect.getdoc(obj) or "").splitlines(), ""]


def setup(app: Sphinx) -> None:
    """Let Sphinx call us."""
    app.connect("autodoc-process-docstring", with_code_blocks, priority=400)  # before napoleon's
    app.connect("autodoc-process-docstring", with_plain_properties, priority=600)
