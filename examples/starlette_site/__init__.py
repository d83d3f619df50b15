"""Notes, a small site in Starlette: README.md beside this file says how to start it."""
