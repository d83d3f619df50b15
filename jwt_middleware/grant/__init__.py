"""Grants: how refresh tokens are exchanged, rotated, found out and revoked (RFC 6749 s6, RFC 7009, RFC 9700)."""
