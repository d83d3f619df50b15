"""Build the site: the pages of docs/, and pages made from the code and its tables.

    python -m tools.docsite [--output .site] [--source-only]

The pages stay as GitHub shows them. `staging.py` copies them into a source folder, where links
lead to pages of the site, and adds what isn't written by hand: the reference (`reference.py`), a
page for each error and reason (`errors.py`), the rules by RFC (`rules.py`). Sphinx makes HTML of
it (`conf.py`), and `llms.py` an index for programs. `make docs` runs it.
"""
