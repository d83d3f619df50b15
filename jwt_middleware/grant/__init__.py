"""Grants: how refresh tokens are exchanged, rotated, found to be copied, and revoked."""
