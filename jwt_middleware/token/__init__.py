"""JSON Web Tokens: what must be in one, and what is checked (RFC 7519, RFC 9068)."""
