"""What is configured: data, checked when it is made."""

from __future__ import annotations

from .settings import Settings, wall_clock

__all__ = ["Settings", "wall_clock"]
