"""The roles of a user are the names of their groups, and are in every access token."""

from typing import Any

from django.contrib.auth import get_user_model

from jwt_middleware import EndGrant, Grant


def claims_for(grant: Grant) -> dict[str, Any]:
    """Return the roles as they are now: asked at the login, and at every refresh."""
    user = get_user_model().objects.filter(pk=grant.subject, is_active=True).first()
    if user is None:
        raise EndGrant("deactivated")
    return {"roles": list(user.groups.order_by("name").values_list("name", flat=True))}
