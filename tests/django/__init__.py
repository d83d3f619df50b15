"""Django is set up before any of these modules is loaded: they import its models."""

from . import project as project
