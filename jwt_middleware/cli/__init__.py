"""The command line: `jwt-middleware demo` and `jwt-middleware keys new`."""
