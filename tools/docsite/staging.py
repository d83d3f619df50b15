"""Copy the repository's pages into the site's source folder, with links that lead to its pages.

A page of docs/ stands at the top of the site, others where they stand in the repository. A link to
another file, such as an example, leads to a page that shows that file; a link to a folder leads to
its README, or to a list of its files.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "docs/**/*.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md",
    "examples/README.md", "examples/*/README.md", "findings/README.md",
)  # fmt: skip
LANGUAGES = {".py": "python", ".js": "javascript", ".sh": "sh", ".yml": "yaml"}  # else the suffix
PLAIN = {".cfg", ".ini", ".svg", ".txt", ""}
IMAGES = {".png", ".svg", ".jpg"}
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[^)]*\))")
FENCE = re.compile(r"^(```+|~~~+).*?^\1`*$", re.MULTILINE | re.DOTALL)
SOURCES = (".md", ".rst")  # of pages
SETUP = re.compile(r"^<!-- setup\n.*?^-->$", re.MULTILINE | re.DOTALL)
TITLES = {"README": "What it is"}  # in the menu, where a page's own title doesn't say it
# The first lines of a page that is in no menu. Each page draws the whole menu: it must be short.
ORPHAN = "---\norphan: true\n---"
EXAMPLES = "examples/README.md"
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass
class Staged:
    """The pages of the site, by their place in the source folder."""

    root: Path = ROOT
    pages: dict[str, str] = field(default_factory=dict)  # texts
    images: dict[str, Path] = field(default_factory=dict)

    def add_repository(self, made: Mapping[str, str]) -> None:
        """Add the repository's pages; `made` are the pages made from code, which theirs link to."""
        self.pages.update(made)
        for path in repository_pages(self.root):
            self.pages[place(path.relative_to(self.root))] = self._with_links(path)

    def _with_links(self, page: Path) -> str:
        here = place(page.relative_to(self.root))

        def led(link: re.Match[str]) -> str:
            target = link[1]
            path = Path(os.path.normpath(page.parent / target))
            if ":" in target or not path.exists():
                return target
            return os.path.relpath(self._shown(path), Path(here).parent)

        # What tests run unseen is no part of a page. Warnings count its lines.
        text = SETUP.sub(lambda one: "\n" * one[0].count("\n"), page.read_text("utf-8"))
        return outside_fences(text, lambda piece: LINK.sub(led, piece))

    def _shown(self, path: Path) -> str:
        """Return the place of the page that shows a file or a folder, which is added if need be."""
        relative = path.relative_to(self.root)
        if path.is_dir():
            if (path / "README.md").is_file():
                return self._shown(path / "README.md")
            return self._add(f"files/{relative.as_posix()}/index.md", lambda: self._listing(path))
        if path.suffix in IMAGES:
            self.images[place(relative)] = path
            return place(relative)
        if path.suffix == ".md":
            return place(relative)
        return self._add(f"files/{relative.as_posix()}.md", lambda: shown_file(self.root, relative))

    def _add(self, name: str, text: Callable[[], str]) -> str:
        if name not in self.pages:
            self.pages[name] = ""  # before its text is made: files may link in a circle
            self.pages[name] = text()
        return name

    def _listing(self, folder: Path) -> str:
        here = f"files/{folder.relative_to(self.root).as_posix()}"
        entries = [
            f"* [{path.name}{'/' if path.is_dir() else ''}]"
            f"({os.path.relpath(self._shown(path), here)})"
            for path in sorted(folder.iterdir())
            if path.name[0] not in "._" and path.suffix not in (".pyc", ".db")
        ]
        return "\n".join([ORPHAN, f"# {folder.relative_to(self.root)}/", "", *entries, ""])

    def write(self, folder: Path) -> None:
        """Write the source folder; remove what an earlier build has left there."""
        names = {*self.pages, *self.images}
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file() and path.relative_to(folder).as_posix() not in names:
                path.unlink()
        for name, text in self.pages.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        for name, image in self.images.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(image, folder / name)


def repository_pages(root: Path = ROOT) -> list[Path]:
    """Return the Markdown files that become pages."""
    return sorted({path for pattern in PAGES for path in root.glob(pattern)})


def place(path: Path) -> str:
    """Return where a file of the repository stands in the site's source."""
    return path.as_posix().removeprefix("docs/")


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Return a page with its text changed, and its code blocks as they are."""
    pieces, at = list[str](), 0
    for fence in FENCE.finditer(text):
        pieces += [change(text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*pieces, change(text[at:])])


def shown_file(root: Path, path: Path) -> str:
    """Return a page that shows a file of the repository."""
    text = (root / path).read_text("utf-8")
    fence = "`" * (3 + max((len(ticks) for ticks in re.findall("`{3,}", text)), default=0))
    suffix = path.suffix
    language = "text" if suffix in PLAIN else LANGUAGES.get(suffix, suffix[1:])
    return f"{ORPHAN}\n# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def menu(index: str) -> dict[str, list[str]]:
    """Return the pages that each section of the index names first, by the section's heading."""
    _, *pieces = HEADING.split(index)
    named = set[str]()
    found: dict[str, list[str]] = {}
    for heading, text in zip(pieces[::2], pieces[1::2], strict=True):
        links = [link.rpartition(".")[0] for link in LINK.findall(text) if link.endswith(SOURCES)]
        found[heading] = [
            one for one in dict.fromkeys(links) if one not in named and not one.startswith("files/")
        ]
        named.update(links)
    return found


def toctree(pages: Iterable[str], caption: str = "") -> str:
    """Return the directive that puts pages below this one in the menu."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    entries = [f"{TITLES[page]} <{page}>" if page in TITLES else page for page in pages]
    return "\n".join(["", "```{toctree}", *options, "", *entries, "```", ""])


def with_menus(pages: dict[str, str]) -> None:
    """Give the site its menu: the sections of the index, and what the index doesn't name."""
    sections = menu(pages["index.md"])
    named = {"index", *(name for section in sections.values() for name in section)}
    inside = {name: text for name, text in pages.items() if not text.startswith(ORPHAN)}
    examples = [name for name in inside if name.startswith("examples/") and name != EXAMPLES]
    rest = [name for name in inside if name not in examples and not name.startswith("reference/")]
    sections["More"] = [stem for name in rest if (stem := name.rpartition(".")[0]) not in named]
    pages[EXAMPLES] += toctree(f"/{name.removesuffix('.md')}" for name in examples)
    for heading, names in sections.items():
        if names:
            pages["index.md"] += toctree(names, heading)
