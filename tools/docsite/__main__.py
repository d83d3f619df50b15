"""Build the site, serve it, or put its tables into docs/errors.md."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

from . import errors, llms, reference, rules
from .staging import ROOT, Staged, with_menus

MADE = "<!-- The site adds its own pages here. -->"
OWN_PAGES = """\
* [Reference](reference/index.rst): every name that an application may import
* [Rules by RFC](rfcs.md), and [all rules](rules.md) with their tests
"""


def stage(source: Path) -> Staged:
    """Write the source folder."""
    staged = Staged()
    staged.add_repository(reference.pages() | errors.pages() | rules.pages())
    pages = staged.pages
    pages["index.md"] = pages["index.md"].replace(MADE, OWN_PAGES)
    pages["errors.md"] = errors.linked(pages["errors.md"])
    with_menus(pages)
    staged.write(source)
    return staged


def render(source: Path, html: Path) -> int:
    """Have Sphinx make HTML; return the exit status: not 0 after a warning."""
    # From the beginning each time: a page that Sphinx has read before is not warned of again.
    options = ["--fail-on-warning", "--nitpicky", "--keep-going", "--quiet", "--fresh-env"]
    here = str(Path(__file__).parent)
    return sphinx_build([*options, "--conf-dir", here, str(source), str(html)])


def build(output: Path) -> int:
    """Build the site; return the exit status: not 0 after a warning."""
    source, html = output / "source", output / "html"
    staged = stage(source)
    status = render(source, html)
    if status == 0:
        for name, text in llms.texts(staged.pages).items():
            (html / name).write_text(text, "utf-8")
    return status


def serve(html: Path, port: int) -> None:
    """Serve the site to this machine until Ctrl-C."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"The documentation is at {address} until you press Ctrl-C.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tools.docsite", description="build the site")
    parser.add_argument("--output", type=Path, default=ROOT / ".site")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve it then; 0: any free port")
    parser.add_argument("--tables", action="store_true", help="only remake the tables of errors.md")
    given = parser.parse_args()
    if given.tables:
        errors.put_tables()
        return 0
    status = build(given.output)
    if status == 0 and given.serve is not None:
        serve(given.output / "html", given.serve)
    return status


if __name__ == "__main__":
    sys.exit(main())
