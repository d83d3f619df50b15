"""Grants: how refresh tokens are exchanged, rotated, found out and revoked."""
