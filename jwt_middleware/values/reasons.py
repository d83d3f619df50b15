"""Why a request was refused: stable names for logs, events and alerts, and never for the client."""

from __future__ import annotations

from typing import NewType

Reason = NewType("Reason", str)

MISSING = Reason("credentials_missing")
CREDENTIALS_MALFORMED = Reason("credentials_malformed")
CREDENTIALS_TWICE = Reason("credentials_twice")
PATH_ODD = Reason("path_odd")

TOO_LONG = Reason("token_too_long")
SEGMENTS = Reason("token_segments")
ENCODING = Reason("token_encoding")
NOT_JSON = Reason("token_json")

HEADER_UNSUPPORTED = Reason("header_unsupported")
ALGORITHM = Reason("algorithm_not_allowed")
KEY_ID = Reason("kid_malformed")
KEY_UNKNOWN = Reason("key_unknown")
KEY_USE = Reason("key_not_for_verifying")
TYPE = Reason("type_not_allowed")
SIGNATURE = Reason("signature_invalid")

CLAIM_MISSING = Reason("claim_missing")
CLAIM_MALFORMED = Reason("claim_malformed")
CLAIM_VALUE = Reason("claim_not_allowed")
ISSUER = Reason("issuer_not_trusted")
AUDIENCE = Reason("audience_not_ours")
EXPIRED = Reason("expired")
NOT_YET_VALID = Reason("not_yet_valid")
ISSUED_IN_FUTURE = Reason("issued_in_future")
SENDER_CONSTRAINED = Reason("sender_constrained")
CHECK_REFUSED = Reason("check_refused")
CHECK_FAILED = Reason("check_failed")
USER_HOOK = Reason("user_hook_failed")
USER_REFUSED = Reason("user_refused")  # Django: there is none, or it isn't active

OTHER_LOGIN = Reason("renewed_by_another_login")
GRANT_ENDED = Reason("grant_ended")
LIFE = Reason("life_too_long")
GRANT_REFUSED = Reason("grant_refused")
REUSED = Reason("refresh_token_reused")
AHEAD = Reason("refresh_token_ahead")
FORMER_BLOCKED = Reason("former_token_blocked")
KEY_MISMATCH = Reason("bound_key_mismatch")
CLIENT = Reason("client_mismatch")
SCOPE_WIDENED = Reason("scope_widened")
CLIENT_AUTHENTICATION = Reason("client_authentication")
GRANT_TYPE = Reason("grant_type_unsupported")
TOKEN_TYPE = Reason("token_type_unsupported")
PARAMETER = Reason("parameter_malformed")
CONTENT_TYPE = Reason("content_type")
BODY = Reason("body_malformed")
BODY_TOO_LARGE = Reason("body_too_large")
BODY_TOO_SLOW = Reason("body_too_slow")
BODIES = Reason("bodies_awaited")
METHOD = Reason("method_not_allowed")
NO_LOGIN = Reason("not_a_login")
NO_SESSION = Reason("session_not_found")
COOKIE_TWICE = Reason("cookie_twice")
COOKIE_MISNAMED = Reason("cookie_misnamed")
DEVICE = Reason("device_not_shown")  # the cookies are bound to a device, which didn't show its key
DEVICE_SESSION = Reason("device_session_unknown")
CROSS_SITE = Reason("cross_site")
NAVIGATION = Reason("navigation_only")
NEXT = Reason("next_not_local")

UNAVAILABLE = Reason("unavailable")
STORE = Reason("store_unavailable")
SYNC = Reason("sync_too_old")
KEYS = Reason("keys_unavailable")
SIGNER = Reason("signer_failed")
CLAIMS_HOOK = Reason("claims_hook_failed")
MIGRATION_HOOK = Reason("migration_hook_failed")
ISSUER_HOOK = Reason("issuer_hook_failed")

PROOF_MISSING = Reason("proof_missing")
PROOF_TWICE = Reason("proof_twice")
PROOF_MALFORMED = Reason("proof_malformed")
PROOF_TYPE = Reason("proof_type")
PROOF_ALGORITHM = Reason("proof_algorithm")
PROOF_KEY = Reason("proof_key")  # it is private, or can't be used
PROOF_SIGNATURE = Reason("proof_signature")
PROOF_CLAIM = Reason("proof_claim")
PROOF_METHOD = Reason("proof_of_another_method")
PROOF_TARGET = Reason("proof_of_another_url")
PROOF_AGE = Reason("proof_too_old")  # or too far ahead
PROOF_TOKEN = Reason("proof_of_another_token")
PROOF_OTHER_KEY = Reason("proof_by_another_key")
PROOF_REPLAYED = Reason("proof_replayed")
PROOF_NONCE = Reason("proof_nonce")  # none, or one that is too old
PROOFS_OFF = Reason("proofs_off")  # the grant is bound, and Settings.proofs is None
PROOFS_FULL = Reason("proofs_full")
CERTIFICATE = Reason("client_certificate")  # none, or another than the token is bound to
NOT_BOUND = Reason("token_not_bound")

SCOPE = Reason("scope_insufficient")
AUTHENTICATION_AGE = Reason("authentication_too_old")
AUTHENTICATION_CONTEXT = Reason("authentication_context")
