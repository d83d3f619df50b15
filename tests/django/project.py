"""The Django project that all tests of a process share: Django can be set up only once in it.

What a test needs otherwise it sets by `override_settings`, and takes a client of its own, because
a client loads `MIDDLEWARE` at its first request.
"""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from jwt_middleware import Cookies, Refresh, Route
from tests.wrapped import FACTORY

FOLDER = Path(tempfile.mkdtemp(prefix="django-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
OURS = "jwt_middleware.django.JWTMiddleware"
MIDDLEWARE = [  # as `startproject` writes it, and ours
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    AUTHENTICATION,
    OURS,
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
JWT = FACTORY.settings(
    issuer="https://testserver",
    routes=(
        Route("/open", public=True),
        Route("/login", public=True, own_origin=True),
        Route("/admin/*", scope="admin"),
        Route("/site/*", public=True),
        Route("/maybe", optional=True),
    ),
    refresh=Refresh(store="memory://", cookies=Cookies()),
)

# Before 6.1 there is no such setting, and later there will be no mail without.
VERSION: Any = django.VERSION
MAILERS: Any = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["testserver", "localhost", "api.example"],
        CHANNEL_LAYERS={},
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(FOLDER / "project.db"),
                "OPTIONS": {"timeout": 60},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "jwt_middleware.django",
            "rest_framework",
            "drf_spectacular",
        ],
        JWT_MIDDLEWARE=JWT,
        MIDDLEWARE=MIDDLEWARE,
        **({"MAILERS": MAILERS} if VERSION >= (6, 1) else {}),
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": ["jwt_middleware.django.rest.JWTAuthentication"],
            "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
        },
        ROOT_URLCONF="tests.django.urls",
        SECRET_KEY="signs what one run of the tests signs, and nothing else anywhere",
        STATIC_URL="/static/",
        TEMPLATES=[
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
        ],
        USE_TZ=True,
    )
    django.setup()
