"""One server for a program and a browser: README.md beside this file says how to start it."""
