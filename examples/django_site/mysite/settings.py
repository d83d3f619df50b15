"""What `startproject` writes, shortened; the part with the tokens is at the end."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from jwt_middleware import Cookies, KeySet, Refresh, Route, Settings

from .roles import claims_for

BASE_DIR = Path(__file__).resolve().parent.parent
URL = os.environ.get("SITE_URL", "http://localhost:8000")  # what the browser shows
DEBUG = urlsplit(URL).hostname == "localhost"
SECRET_KEY = os.environ["SECRET_KEY"] if not DEBUG else "django-insecure, for trying it out"
ALLOWED_HOSTS = [urlsplit(URL).hostname]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "jwt_middleware.django",  # for `manage.py check`
    "mysite",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "jwt_middleware.django.JWTMiddleware",  # directly below AuthenticationMiddleware
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
STATIC_URL = "/static/"
USE_TZ = True

# --- Tokens

JWT_MIDDLEWARE = Settings(
    issuer=URL,
    audience=f"{URL}/api",
    keys=KeySet.load(BASE_DIR / "keys.json"),
    login_url="/login",  # a page load without a valid token goes there, and comes back
    routes=(
        Route("/login", public=True, own_origin=True),
        Route("/logout", public=True, own_origin=True),  # also when the token has expired
        Route("/api/login", public=True, own_origin=True),
        Route("/", optional=True),  # for those who are logged in, and for others
        Route("/admin", public=True),  # the admin has its own login and session
        Route("/admin/*", public=True),
        Route("/static/*", public=True),
    ),  # all other paths: for those who are logged in
    refresh=Refresh(
        store=f"sqlite:///{BASE_DIR / 'grants.db'}",
        cookies=Cookies(access=True, forms=True),  # pages; apps send the tokens themselves
        claims_for=claims_for,
    ),
)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["jwt_middleware.django.rest.JWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
