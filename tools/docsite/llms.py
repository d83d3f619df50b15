"""The site for programs: llms.txt has a line for each page, llms-full.txt the pages themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .staging import FENCE, ORPHAN, menu

HEAD = """\
# wsgi-asgi-jwt-middleware

> One middleware for WSGI and ASGI in Python, for access and refresh tokens in JWT.

The pages in one file: [llms-full.txt](llms-full.txt).
"""
SOURCES = "_sources"  # where Sphinx puts the text of each page
# Not for readers of the documentation, and as long as all the rest.
LEFT_OUT = {"CHANGELOG.md", "CONTRIBUTING.md", "rfcs.md", "rules.md"}
ENTRY = re.compile(r"^\* \[[^]]*\]\(([^)#]+)\)(?:: (.+))?$", re.MULTILINE)
NOT_TEXT = tuple("#<|.*:-=[!")  # what a paragraph begins with that is no sentence


def texts(pages: Mapping[str, str]) -> dict[str, str]:
    """Return both files. The pages that show files of the repository are left out."""
    pages = {
        name: text.removeprefix(ORPHAN).lstrip()
        for name, text in pages.items()
        if not name.startswith("files/")
    }
    index = pages["index.md"]
    said = {page: words for page, words in ENTRY.findall(index) if words}
    sections = [
        (heading, [_file(name, pages) for name in names]) for heading, names in menu(index).items()
    ]
    named = {name for _, names in sections for name in names}
    rest = [name for name in pages if name not in named]
    lines = [HEAD]
    for heading, names in (*sections, ("More", rest)):
        lines.append(f"## {heading}\n")
        lines += [
            f"- [{title_of(pages[n])}]({SOURCES}/{n}.txt): {said.get(n) or first_words(pages[n])}"
            for n in names
        ]
        lines.append("")
    whole = [
        f"<!-- {name} -->\n\n{text}"
        for name, text in pages.items()
        if name.endswith(".md") and name not in LEFT_OUT
    ]
    return {"llms.txt": "\n".join(lines), "llms-full.txt": "\n\n".join(whole)}


def _file(name: str, pages: Mapping[str, str]) -> str:
    return f"{name}.md" if f"{name}.md" in pages else f"{name}.rst"


def title_of(text: str) -> str:
    """Return the title of a page."""
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return (found[1] if found else text.partition("\n")[0]).replace("`", "")


def first_words(text: str) -> str:
    """Return the first sentence below the title, without links."""
    for paragraph in FENCE.sub("", text.partition("\n")[2]).split("\n\n"):
        words = " ".join(paragraph.split())
        if words and not words.startswith(NOT_TEXT):
            plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", words)
            return re.split(r"(?<=[.]) ", plain)[0]
    return ""
