"""OpenTelemetry: the same numbers through its SDK, and spans that nest once."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from opentelemetry import context, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from redis.asyncio import Redis

from jwt_middleware import Issuer, KeySet, Refresh, Settings, otel, required_token
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.keys import Fetched
from jwt_middleware.otel import TO_GLOBAL_PROVIDERS, OpenTelemetry
from jwt_middleware.process import measures
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.metrics import INSTRUMENTS
from tests.engines import redis as engines
from tests.world import World

from .test_prometheus import refused_to_load


class Telemetry:
    """An SDK in memory."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meters = MeterProvider(metric_readers=[self._reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def metrics(self) -> OpenTelemetry:
        return OpenTelemetry(self.meters, self.tracers)

    def collected(self) -> dict[str, Any]:
        found = self._reader.get_metrics_data()
        assert found is not None
        data = json.loads(found.to_json())
        return {
            one["name"]: one
            for resource in data["resource_metrics"]
            for scope in resource["scope_metrics"]
            for one in scope["metrics"]
        }

    def clear(self) -> None:
        self._exporter.clear()

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


def _points(found: dict[str, Any], name: str) -> dict[tuple[str, ...], Any]:
    data = found[f"jwt_middleware.{name}"]["data"]["data_points"]
    return {tuple(one["attributes"].values()): one.get("value", one) for one in data}


def test_the_instruments_carry_the_table(telemetry: Telemetry) -> None:
    factory = TokenFactory()
    settings = factory.settings(metrics=telemetry.metrics(), refresh=Refresh(store="memory://"))
    world = World(settings)
    tokens = Issuer(world.settings).issue("alice")
    for _ in range(2):
        world.get("/", tokens.access_token)
    world.get("/", "nonsense")
    found = telemetry.collected()
    assert _points(found, "requests.let_in")["other", "known"] == 2
    assert _points(found, "requests.refused") == {("other", "token_segments"): 2}
    assert _points(found, "events")[("issued",)] == 1
    assert _points(found, "tokens.known") == {(): 2}
    histogram = _points(found, "store.duration")["add", "ok"]
    assert histogram["count"] == 1
    assert histogram["explicit_bounds"][0] == 0.0005
    table = {one.name: one for one in INSTRUMENTS}
    for name, one in found.items():
        assert (one["unit"], one["description"]) == (table[name].unit, table[name].text)
    rest = {"jwt_middleware.keys.fetched_timestamp", "jwt_middleware.keys.fetches"}
    assert set(table) - set(found) == rest  # these keys are fixed
    settings.close()


def test_settings_of_one_provider_are_added_up(telemetry: Telemetry) -> None:
    factory = TokenFactory()
    kept = []
    for metrics in (telemetry.metrics(), one := telemetry.metrics(), one):
        world = World(factory.settings(metrics=metrics))
        world.get("/", factory.token())
        kept.append(world)
    assert _points(telemetry.collected(), "requests.let_in")["other", "new"] == 6


def test_a_forked_child_begins_with_zero(telemetry: Telemetry) -> None:
    factory = TokenFactory()
    world = World(factory.settings(metrics=telemetry.metrics()))
    world.get("/", factory.token())
    otel._forked()
    measures._forget()
    assert _points(telemetry.collected(), "requests.let_in")["other", "new"] == 0


def test_without_the_api_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    refused_to_load(otel, "otel")


def test_without_an_sdk_all_is_dropped() -> None:
    factory = TokenFactory()
    settings = factory.settings(metrics=TO_GLOBAL_PROVIDERS, refresh=Refresh(store="memory://"))
    world = World(settings)
    tokens = Issuer(world.settings).issue("alice")
    assert world.get("/", tokens.access_token).status == 200
    OpenTelemetry().observe(INSTRUMENTS[-1], ("add", "ok"), 0.1)  # before it has begun
    again = pickle.loads(pickle.dumps(TO_GLOBAL_PROVIDERS))
    assert isinstance(again, OpenTelemetry)


# --- spans


def _tree(spans: list[ReadableSpan]) -> dict[str, Any]:
    """Return the names, each with those inside; a name that comes twice in one place fails."""

    def inside(parent: int | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in spans:
            if (one.parent.span_id if one.parent else None) == parent:
                assert one.context is not None
                assert one.name not in found, f"{one.name} comes twice"
                found[one.name] = inside(one.context.span_id)
        return found

    return inside(None)


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with engines.Server("valkey") as server:
        yield server.url


@pytest.mark.anyio
@pytest.mark.parametrize("traces_itself", [True, False])
async def test_spans_nest_once_under_fastapi_and_beside_redis(
    telemetry: Telemetry, valkey: str, *, traces_itself: bool
) -> None:
    RedisInstrumentor().instrument(tracer_provider=telemetry.tracers)
    client = Redis.from_url(valkey)
    # FastAPI makes spans itself. Where its instrumentation is used, those of that come instead.
    app = FastAPI(telemetry={"tracer_provider": telemetry.tracers, "operation_spans": False})
    settings = Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KeySet.generate(),
        refresh=Refresh(store=valkey),
        metrics=telemetry.metrics(),
    )
    app.add_middleware(JWTMiddleware, settings=settings)

    @app.get("/items")
    async def items() -> str:
        return str(await client.get("items"))

    if not traces_itself:
        FastAPIInstrumentor.instrument_app(
            app, tracer_provider=telemetry.tracers, exclude_spans=["receive", "send"]
        )
    try:
        tokens = await Issuer(settings).aissue("alice")
        telemetry.clear()
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as browser:
            form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
            assert (await browser.post("/auth/refresh", data=form)).status_code == 200
            refresh = _tree(telemetry.spans())
            telemetry.clear()
            bearer = {"Authorization": f"Bearer {tokens.access_token}"}
            for _ in range(2):
                assert (await browser.get("/items", headers=bearer)).status_code == 200
        # Our store sends its commands on connections of its own, so that redis-py's
        # instrumentation sees none of them: one span for one verb.
        assert refresh == {"POST": {"jwt_middleware.store advance": {}}}
        # The application's own command has that instrumentation's span, and a token needs none.
        first, second = (
            _tree([one for one in telemetry.spans() if one.context and one.context.trace_id == of])
            for of in dict.fromkeys(
                one.context.trace_id for one in telemetry.spans() if one.context
            )
        )
        assert first == second == {"GET /items": {"GET": {}}}
    finally:
        if not traces_itself:
            FastAPIInstrumentor.uninstrument_app(app)
        RedisInstrumentor().uninstrument()
        await client.aclose()
        await settings.aclose()


@pytest.mark.anyio
async def test_spans_nest_once_beside_those_of_an_mcp_server(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDK takes the global provider, which can be set once in a process.
    tracer = telemetry.tracers.get_tracer("mcp-python-sdk")
    monkeypatch.setattr("mcp.shared._otel._tracer", tracer)
    factory = TokenFactory()
    body = json.dumps(factory.settings().keys.public_jwks()).encode()

    class Keys:
        def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
            return Fetched(200, body, "", url)

    keys = KeySet.remote("https://keys.example/jwks", fetcher=Keys())
    settings = factory.settings(keys=keys, metrics=telemetry.metrics())
    server = MCPServer("Greeter")

    @server.tool()
    def greet() -> str:
        return f"hello {required_token().subject}"

    inner = server.streamable_http_app(stateless_http=True, json_response=True)
    app = OpenTelemetryMiddleware(
        JWTMiddleware(inner, settings),
        tracer_provider=telemetry.tracers,
        exclude_spans=["receive", "send"],
    )
    url = "http://127.0.0.1:8000"  # the SDK answers to local names only
    async with (
        inner.router.lifespan_context(inner),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url=url,
            headers=factory.bearer(sub="alice"),
        ) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        first = _tree(_of_one_trace(telemetry, "keys fetch"))
        telemetry.clear()
        told = await client.call_tool("greet", {})
        calls = _tree(_of_one_trace(telemetry, "MCP send tools/call greet"))
    assert told.structured_content == {"result": "hello alice"}
    # The server's span of a message is below the client's, and ours below that of the request.
    assert first == {
        "MCP send server/discover": {
            "server/discover": {},
            "POST /mcp": {"jwt_middleware.keys fetch": {}},
        }
    }
    assert calls == {"MCP send tools/call greet": {"tools/call greet": {}, "POST /mcp": {}}}


def _of_one_trace(telemetry: Telemetry, name: str) -> list[ReadableSpan]:
    """Return all spans of the trace in which one is called so."""
    spans = telemetry.spans()
    (trace_id,) = (one.context.trace_id for one in spans if one.context and one.name.endswith(name))
    return [one for one in spans if one.context and one.context.trace_id == trace_id]


def test_a_fetch_in_its_thread_is_inside_the_request_that_asked(telemetry: Telemetry) -> None:
    factory = TokenFactory()
    body = json.dumps(factory.settings().keys.public_jwks()).encode()
    within: list[tuple[int, int]] = []  # the thread, and the span that an instrumented client sees

    class Client:
        def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
            found = trace.get_current_span().get_span_context()
            within.append((threading.get_ident(), found.span_id))
            return Fetched(200, body, "", url)

    keys = KeySet.remote("https://keys.example/jwks", fetcher=Client())
    world = World(factory.settings(keys=keys, metrics=telemetry.metrics()))
    tracer = telemetry.tracers.get_tracer("test")
    with tracer.start_as_current_span("request"):
        assert world.get("/", factory.token()).status == 200
    assert _tree(telemetry.spans()) == {"request": {"jwt_middleware.keys fetch": {}}}
    (fetch,) = (one for one in telemetry.spans() if one.name.endswith("fetch"))
    ((thread, span_id),) = within
    assert fetch.context is not None
    assert span_id == fetch.context.span_id
    assert thread != threading.get_ident()
    assert fetch.kind is SpanKind.INTERNAL
    assert fetch.attributes == {"jwt_middleware.issuer": factory.issuer}
    assert context.get_current() == {}


def test_a_failure_is_named_and_its_text_is_not(telemetry: Telemetry) -> None:
    class Client:
        def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
            raise OSError("secret-host")

    factory = TokenFactory()
    keys = KeySet.remote("https://keys.example/jwks", fetcher=Client())
    world = World(factory.settings(keys=keys, metrics=telemetry.metrics()))
    assert world.get("/", factory.token()).status == 503
    (span,) = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "KeysUnavailable"
    assert "secret-host" not in span.to_json()
