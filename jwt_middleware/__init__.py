"""Access and refresh tokens in JWT for WSGI and ASGI applications.

`jwt_middleware.asgi.JWTMiddleware` and `jwt_middleware.wsgi.JWTMiddleware` are the doors; one
`Settings` object configures both.
"""

from .keys import KeySet
from .request.routes import Route
from .runtime import current_token
from .settings import Settings
from .token import profiles
from .values.errors import ConfigurationError
from .values.events import Event, Refused
from .values.model import AccessToken

__all__ = [
    "AccessToken",
    "ConfigurationError",
    "Event",
    "KeySet",
    "Refused",
    "Route",
    "Settings",
    "current_token",
    "profiles",
]
__version__ = "0.1.0"
