"""What open websockets cost, and how soon they end: `python -m benchmarks.sockets [--sockets N]`.

One uvicorn serves the same application, one websocket for each login, in turns: bare, without this
package; behind the middleware with `Route(connections="keep")`, which watches nothing; and watched.
Printed are the memory of the process for each websocket and the CPU of an idle while. Then another
process ends one grant that has a thousand websockets more, and tokens expire. `--gate` says by its
exit code whether the limits hold: what watching takes is what "end" takes more than "keep".

It needs Linux: memory and CPU come from /proc. `ulimit -n` must be a little over the sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jwt_middleware import Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory

from .feed import cpu

ISSUER, AUDIENCE = "https://login.example", "https://api.example"
PAGE = os.sysconf("SC_PAGE_SIZE")
IDLE = 20.0  # seconds for which CPU is measured
OF_ONE = 1000  # websockets of one grant
LIFE = 20  # seconds of the tokens that expire
MOST_OCTETS = 1024  # that a websocket takes more because it is watched
LATEST = {"grant": 2.5, "exp": 1.0}  # seconds until the last of a thousand is closed
AT_ONCE = 200  # handshakes


def settings_of(folder: Path, mode: str) -> Settings:
    return Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=KeySet.load(folder / "keys.json"),
        leeway=0,
        routes=(Route("/ws", connections="keep"),) if mode == "keep" else (),
        refresh=Refresh(store=f"sqlite:///{folder}/grants.db", access_lifetime=3600),
    )


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        pass


def serve(mode: str, port: int, folder: Path) -> None:
    import uvicorn

    app: Any = application
    if mode != "bare":
        app = JWTMiddleware(application, settings_of(folder, mode))
    uvicorn.run(app, port=port, log_level="error", ws_ping_interval=None, backlog=4096)


@contextmanager
def server(mode: str, folder: Path) -> Generator[tuple[int, int]]:
    """Start a server; give its process id and port."""
    port = 21000 + os.getpid() % 20000
    command = [sys.executable, "-m", "benchmarks.sockets", "--serve", mode, str(port), str(folder)]
    process = subprocess.Popen(command)
    try:
        while True:
            try:
                asyncio.run(_touch(port))
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


async def _touch(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


def memory(pid: int) -> int:
    """Return the octets that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


class Socket:
    """A websocket's client, which only listens for its end."""

    code = 0
    ended_at = 0.0

    async def open(self, port: int, token: str) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        fields = (
            "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        )
        self._writer.write(f"GET /ws HTTP/1.1\r\n{fields}".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head

    async def wait(self) -> None:
        frame = await self._reader.readexactly(4)
        self.ended_at = time.time()
        assert frame[0] == 0x88, frame  # a close
        self.code = int.from_bytes(frame[2:4], "big")


async def opened(port: int, tokens: list[str]) -> list[Socket]:
    """Open a websocket for each token."""
    gate = asyncio.Semaphore(AT_ONCE)
    sockets = [Socket() for _ in tokens]

    async def one(socket: Socket, token: str) -> None:
        async with gate:
            await socket.open(port, token)

    await asyncio.gather(*map(one, sockets, tokens))
    return sockets


async def measured(pid: int, port: int, tokens: list[str]) -> tuple[float, float]:
    """Return the octets for each websocket, and the share of one CPU while nothing happens."""
    await opened(port, tokens[:AT_ONCE])  # what is made once is made
    await asyncio.sleep(1)
    before = memory(pid)
    sockets = await opened(port, tokens[AT_ONCE:])
    await asyncio.sleep(3)
    octets = (memory(pid) - before) / len(sockets)
    used = cpu([pid])
    await asyncio.sleep(IDLE)
    share = (cpu([pid]) - used) / IDLE
    return octets, share


def issued(settings: Settings, number: int) -> list[str]:
    issuer = Issuer(settings)
    return [issuer.issue(f"user-{one}").access_token for one in range(number)]


async def ends(port: int, settings: Settings, rest: list[str]) -> dict[str, float]:
    """Return the seconds until a grant's last websocket was closed, and the last after `exp`."""
    others = await opened(port, rest)
    tokens = Issuer(settings).issue("one")
    of_one = await opened(port, [tokens.access_token] * OF_ONE)
    await asyncio.sleep(2)
    ended_at = time.time()
    Issuer(settings).revoke(tokens.grant_id)  # this is another process than the server's
    await asyncio.wait_for(asyncio.gather(*[one.wait() for one in of_one]), 60)
    assert {one.code for one in of_one} == {4401}
    factory = TokenFactory(issuer=ISSUER, audience=AUDIENCE)
    factory.keys = settings.keys
    exp = time.time() + LIFE
    short = [factory.token(exp=exp, sub=f"short-{one}") for one in range(OF_ONE)]
    expiring = await opened(port, short)
    assert time.time() < exp - 1, "the machine is too slow: raise LIFE"
    await asyncio.wait_for(asyncio.gather(*[one.wait() for one in expiring]), 2 * LIFE)
    assert {one.code for one in expiring} == {4401}
    assert all(one.code == 0 for one in others)
    after = [one.ended_at - exp for one in expiring]
    assert min(after) >= 0
    return {
        "grant": max(one.ended_at for one in of_one) - ended_at,
        "first of grant": min(one.ended_at for one in of_one) - ended_at,
        "exp": max(after),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        mode, port, folder = asked.serve
        serve(mode, int(port), Path(folder))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        KeySet.generate("ES256").save(folder / "keys.json")
        settings = settings_of(folder, "end")
        tokens = issued(settings, asked.sockets)
        found: dict[str, Any] = {}
        for mode in ("bare", "keep", "end"):
            with server(mode, folder) as (pid, port):
                octets, share = asyncio.run(measured(pid, port, tokens))
            found[mode] = {"octets": round(octets), "cpu": f"{share:.2%}"}
            print(f"{mode:5} {octets:7,.0f} octets each, {share:.2%} of a CPU", flush=True)
        with server("end", folder) as (_, port):
            seconds = asyncio.run(ends(port, settings, tokens[: asked.sockets // 2]))
        print(json.dumps(found | {name: round(one, 2) for name, one in seconds.items()}))
    kept = found["end"]["octets"] - found["keep"]["octets"] <= MOST_OCTETS
    kept = kept and all(seconds[name] <= most for name, most in LATEST.items())
    return int(asked.gate and not kept)


if __name__ == "__main__":
    sys.exit(main())
