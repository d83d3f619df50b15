"""Error trackers, which send the locals of frames; what they would send is kept here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import elasticapm
import sentry_sdk
import structlog
from elasticapm.transport.base import Transport as ElasticTransport
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport as SentryTransport
from sentry_sdk.utils import event_from_exception
from structlog.processors import ExceptionRenderer, JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer

ENOUGH = 1_000_000  # characters: nothing is cut off before it is searched
OURS = "jwt_middleware/"
SERVERS = {"scope", "environ"}  # locals that are the server's own, and the application's


class _KeptBySentry(SentryTransport):
    def __init__(self, sent: list[Any]) -> None:
        super().__init__()
        self._sent = sent

    def capture_envelope(self, envelope: Envelope) -> None:
        self._sent += [item.payload.json for item in envelope.items]


class KeptByElastic(ElasticTransport):
    sent: list[Any]

    def send(self, data: Any, forced_flush: bool = False) -> None: ...

    def start_thread(self, pid: int | None = None) -> None: ...

    def queue(self, event_type: str, data: Any, flush: bool = False) -> None:
        self.sent.append({event_type: data})


class Trackers:
    """Sentry, Elastic APM and structlog, with locals as by default, and nothing cut off."""

    def __init__(
        self,
        sentry: Mapping[str, Any] = MappingProxyType({"event_scrubber": None}),
        elastic: Mapping[str, Any] = MappingProxyType({}),
        *,
        show_locals: bool = True,
    ) -> None:
        self.sent: list[Any] = []
        self._sentry = sentry_sdk.Client(
            dsn="http://key@localhost/1",
            transport=_KeptBySentry(self.sent),
            default_integrations=False,
            auto_enabling_integrations=False,
            attach_stacktrace=True,
            max_value_length=ENOUGH,
            **sentry,
        )
        self._elastic = elasticapm.Client(
            service_name="tests",
            transport_class=f"{__name__}.KeptByElastic",
            central_config="false",
            cloud_provider="none",
            metrics_interval="0ms",
            instrument="false",
            local_var_max_length=ENOUGH,
            local_var_list_max_length=1000,
            local_var_dict_max_length=1000,
            **elastic,
        )
        self._elastic._transport.sent = self.sent
        renderers = [
            ExceptionRenderer(
                ExceptionDictTransformer(
                    show_locals=show_locals,
                    locals_max_length=1000,
                    locals_max_string=ENOUGH,
                    use_rich=use_rich,
                )
            )
            for use_rich in (True, False)  # each writes a `repr` of its own
        ]
        self._loggers = [
            structlog.wrap_logger(structlog.ReturnLogger(), processors=[one, JSONRenderer()])
            for one in renderers
        ]

    def close(self) -> None:
        self._sentry.close()
        self._elastic.close()

    def caught(self, error: BaseException) -> None:
        """Send an error, as at the end of a request that it ended."""
        about = type(error), error, error.__traceback__
        event, hint = event_from_exception(about, client_options=self._sentry.options)
        self._sentry.capture_event(event, hint, scope=sentry_sdk.Scope())
        self._elastic.capture_exception(exc_info=about)
        self.sent += [
            json.loads(logger.error("failed", exc_info=about)) for logger in self._loggers
        ]

    def looked(self) -> None:
        """Send the frames that are running, as for a message that an application logs."""
        self._sentry.capture_event({"message": "seen", "level": "error"}, scope=sentry_sdk.Scope())
        self._elastic.capture_message("seen", stack=True)

    def taken(self) -> list[Frame]:
        """Return the frames of all that was sent since, and forget it."""
        found = [frame for one in self.sent for frame in _frames(one)]
        self.sent.clear()
        return found


class Frame:
    """A frame as a tracker sends it."""

    def __init__(self, path: str, function: str, variables: dict[str, Any]) -> None:
        self.function = function
        self.is_ours = f"/{OURS}" in path and "/tests/" not in path
        self.name = f"{path.rpartition(OURS)[2]}:{function}"
        self._variables = variables

    def shown(self) -> Iterator[tuple[str, str]]:
        """Yield what it shows of each local that isn't the server's."""
        for name, value in self._variables.items():
            if name not in SERVERS:
                yield f"{self.name} {name}", json.dumps(value, default=repr)

    def shown_of_the_server(self) -> str:
        return json.dumps(
            [value for name, value in self._variables.items() if name in SERVERS], default=repr
        )


def _frames(sent: Any) -> Iterator[Frame]:
    if isinstance(sent, list | tuple):
        for one in sent:
            yield from _frames(one)
    if not isinstance(sent, dict):
        return
    variables = sent.get("vars") or sent.get("locals")
    if variables and ("function" in sent or "name" in sent):
        path = sent.get("abs_path") or sent.get("filename") or ""
        yield Frame(str(path), sent.get("function") or sent["name"], variables)
        return
    for one in sent.values():
        yield from _frames(one)
