"""What the application of the matrix and its test share: their settings."""

from jwt_middleware import Cookies, KeySet, Refresh, Route, Settings

ISSUER, AUDIENCE = "https://login.example", "https://api.example"
COOKIES = "/cookies"  # below it tokens are in cookies


def settings_with(keys: KeySet, store: str, *, cookies: bool = False) -> Settings:
    """Return the settings of one door; the test has the same, to log in."""
    return Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=keys,
        routes=(Route("/admin/*", scope="admin"),),
        refresh=Refresh(store=store, cookies=Cookies(access=True), path=f"{COOKIES}/auth")
        if cookies
        else Refresh(store=store),
    )
