"""The site builds without a warning, has every page, and needs nothing from elsewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import pytest

from tools.docsite import __main__ as site
from tools.docsite import errors, llms, reference, staging
from tools.docsite.staging import ROOT

pytestmark = pytest.mark.xdist_group("site")  # one process builds it

# What a new reader looks for, and a page that has it: at most three clicks from the index.
TASKS = {
    "issue tokens after a login": "refresh.html",
    "only verify another issuer's tokens": "issuers.html",
    "serve MCP clients": "metadata.html",
    "put it into a Django project": "django.html",
    "give the claims to a FastAPI endpoint": "fastapi.html",
    "change a secret without logging anybody out": "changing.html",
    "choose a store and run it": "operating.html",
    "test my own application": "testing.html",
    "know what an error means": "errors/refresh_token_reused.html",
    "look a setting up": "settings.html",
    "look up what a function takes": "reference/jwt_middleware.html",
    "see which rule enforces a section of an RFC": "rules.html",
}


class Links(HTMLParser):
    """The links of a page, and what it loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.in_menu = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "aside":  # the menu, which is on every page
            self.in_menu += 1
        if tag == "a" and given.get("href") and not self.in_menu:
            self.links.append(given["href"] or "")
        loads = given.get("src") or (given.get("href") if tag == "link" else None)
        if loads and urlsplit(loads).netloc:
            self.loaded.append(loads)

    def handle_endtag(self, tag: str) -> None:
        if tag == "aside":
            self.in_menu -= 1


def read(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text("utf-8"))
    return links


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once. A warning, such as a link that leads nowhere, is an error."""
    output = tmp_path_factory.mktemp("site")
    # A process of its own: Sphinx leaves much behind in the one that it runs in.
    command = [sys.executable, "-m", "tools.docsite", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output / "html"


@pytest.fixture(scope="session")
def pages(html: Path) -> dict[str, Links]:
    return {path.relative_to(html).as_posix(): read(path) for path in html.rglob("*.html")}


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text("# I\n\n[one](none.md) [two](a.md#none) {any}`none`\n")
    (source / "a.md").write_text("---\norphan: true\n---\n# A\n")
    code = "import sys, pathlib; from tools.docsite.__main__ import render; "
    code += "sys.exit(render(*map(pathlib.Path, sys.argv[1:])))"
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("WARNING") == 3


def test_nothing_is_loaded_from_another_host(html: Path, pages: dict[str, Links]) -> None:
    assert {name: page.loaded for name, page in pages.items() if page.loaded} == {}
    for sheet in html.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert not re.search(r"@import\s+(?:url\()?[\"']?(?:https?:)?//", text), sheet
        assert not re.search(r"url\([\"']?(?:https?:)?//", text), sheet


def inside(name: str, page: Links) -> Iterator[str]:
    """Yield the pages of the site that a page leads to."""
    for link in page.links:
        target = urldefrag(link).url
        if target and not urlsplit(target).scheme:
            yield (Path("/") / Path(name).parent / target).resolve().relative_to("/").as_posix()


def test_every_link_between_pages_leads_to_a_page(html: Path, pages: dict[str, Links]) -> None:
    broken = [
        (name, target)
        for name, page in pages.items()
        for target in inside(name, page)
        if not (html / target).is_file()
    ]
    assert broken == []


@pytest.mark.parametrize("task", TASKS)
def test_a_new_reader_finds_it_in_three_clicks(task: str, pages: dict[str, Links]) -> None:
    reached = {"index.html"}
    for _ in range(3):
        reached |= {
            target for name in reached if name in pages for target in inside(name, pages[name])
        }
    assert TASKS[task] in reached


def test_every_page_is_in_the_index() -> None:
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    named = {(ROOT / "docs" / link).resolve() for link in staging.LINK.findall(text)}
    docs = {path for path in (ROOT / "docs").rglob("*.md") if path.name != "index.md"}
    lacking = docs - named
    assert sorted(path.relative_to(ROOT).as_posix() for path in lacking) == []


def test_every_reason_and_every_module_has_an_address(html: Path) -> None:
    for reason in errors.described()["reasons"]:
        assert (html / "errors" / f"{reason}.html").is_file()
    for name in reference.public_modules():
        assert (html / "reference" / f"{name}.html").is_file()


def test_programs_find_every_page(html: Path) -> None:
    short = (html / "llms.txt").read_text("utf-8")
    found = re.findall(r"^- \[.+?\]\((_sources/\S+?)\): .+$", short, re.MULTILINE)
    assert all((html / one).is_file() for one in found)
    for path in staging.repository_pages():
        place = staging.place(path.relative_to(ROOT))
        assert place == "index.md" or f"_sources/{place}.txt" in found, place
    whole = (html / "llms-full.txt").read_text("utf-8")
    assert all(f"<!-- {path.name} -->" in whole for path in (ROOT / "docs").glob("*.md"))


def staged(folder: Path) -> staging.Staged:
    made = staging.Staged(folder)
    made.add_repository({})
    return made


def test_links_of_the_repository_become_links_of_the_site(tmp_path: Path) -> None:
    files = {
        "README.md": "[a](docs/a.md#x) [LICENSE](LICENSE) [tests](tests)",
        "docs/a.md": "# A\n[up](../README.md) [code](../tests/x.py) [out](https://example.com/a.md)\n"
        "<!-- setup\nhidden = 1\n-->\n```\n[kept](../README.md)\n```\n[none](none.md)\n",
        "tests/x.py": 'x = """```"""\n',
        "LICENSE": "free",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    pages = staged(tmp_path).pages
    assert pages["README.md"] == (
        "[a](a.md#x) [LICENSE](files/LICENSE.md) [tests](files/tests/index.md)"
    )
    assert pages["a.md"] == (
        "# A\n[up](README.md) [code](files/tests/x.py.md) [out](https://example.com/a.md)\n"
        "\n\n\n```\n[kept](../README.md)\n```\n[none](none.md)\n"
    )
    assert "(../tests/x.py.md)" not in pages["files/tests/index.md"]
    assert "[x.py](x.py.md)" in pages["files/tests/index.md"]
    assert '````python\nx = """```"""\n````' in pages["files/tests/x.py.md"]


def test_what_the_index_does_not_name_is_in_the_menu_all_the_same() -> None:
    pages = {
        "index.md": "# I\n\n## First\n\n* [a](a.md), [again](a.md#x), [code](files/x.py.md)\n",
        "a.md": "# A",
        "new.md": "# New",
        "errors.md": "# E\n",
        "errors/x.md": f"{staging.ORPHAN}\n# X",
        "examples/README.md": "# Examples\n",
        "examples/site/README.md": "# A site\n",
        "files/x.py.md": f"{staging.ORPHAN}\n# x",
    }
    staging.with_menus(pages)
    menus = re.findall(r":caption: (.+)\n\n((?:.+\n)+)```", pages["index.md"])
    assert menus == [("First", "a\n"), ("More", "new\nerrors\nexamples/README\n")]
    assert pages["examples/README.md"].endswith("\n\n/examples/site/README\n```\n")


def test_a_page_says_in_a_sentence_what_it_is() -> None:
    text = "# `T`\n\n```sh\nno\n```\n\n| no |\n\nThe [first](x.md) sentence, whole. And more.\n"
    assert llms.title_of(text) == "T"
    assert llms.first_words(text) == "The first sentence, whole."
    assert llms.first_words("# T\n") == ""


def test_the_site_is_served_from_this_machine_only(
    html: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(server: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", stop)
    site.serve(html, 0)
    assert re.search(r"http://127\.0\.0\.1:\d+/", capsys.readouterr().out)
