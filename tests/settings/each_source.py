"""Settings that a mapping, variables and TOML say: they must mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jwt_middleware import KeySet, Settings

NAMES = {"issuer": "https://login.example", "audience": "https://api.example"}


def from_each(
    folder: Path,
    *,
    mapping: Mapping[str, Any],
    variables: Mapping[str, str],
    toml: str,
) -> tuple[Settings, ...]:
    """Return the settings of each source, which says names, keys and a store beside what is given.

    `mapping` may have a `refresh`, to which the store is added; `variables` go without the prefix.
    """
    keys = folder / "keys.json"
    KeySet.generate().save(keys)
    refresh = {"store": "memory://"} | mapping.get("refresh", {})
    given = {"KEYS__FILE": str(keys), "REFRESH__STORE": "memory://", **variables}
    given |= {name.upper(): text for name, text in NAMES.items()}
    lines = [f'{name} = "{text}"' for name, text in NAMES.items()]
    lines += [f'keys.file = "{keys}"', 'refresh.store = "memory://"', toml]
    file = folder / "settings.toml"
    file.write_text("\n".join(["[jwt_middleware]", *lines]), "utf-8")
    return (
        Settings.from_mapping(
            {**NAMES, "keys": {"file": str(keys)}, **mapping, "refresh": refresh}
        ),
        Settings.from_env({f"JWT_MIDDLEWARE_{name}": text for name, text in given.items()}),
        Settings.from_toml(file),
    )
