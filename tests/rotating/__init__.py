"""Issuers and a verifier in processes of their own, whose keys change while clients call them."""
