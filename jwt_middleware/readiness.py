"""Ask whether this process can serve: for health pages, start-up checks and tests of your own.

`Settings.ready_path` answers probes with the same. `Issuer` has both functions, too; here they are
for services that only verify.
"""

from __future__ import annotations

from .process.runtime import Runtime
from .settings.settings import Settings
from .values.flows import arun, run
from .values.readiness import Readiness

__all__ = ["Readiness", "aready", "ready"]


def ready(settings: Settings) -> Readiness:
    """Say whether this process can serve. At first it opens the store and fetches keys.

    It looks at most once a second, and repeats its answer meanwhile. True in conditions if it can.

    Args:
        settings: the application's.

    Raises:
        ConfigurationError: the settings have something that must be awaited.

    """
    return run(Runtime.of(settings).probe(asynchronous=False).look())


async def aready(settings: Settings) -> Readiness:
    """Do what `ready` does, in asynchronous code."""
    runtime = Runtime.of(settings)
    return await arun(runtime.probe(asynchronous=True).look(), runtime.carry)
