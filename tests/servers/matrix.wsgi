"""The application of the matrix as mod_wsgi wants it: a file, which it runs by itself."""

from tests.servers.matrix_app import wsgi

application = wsgi
