#!/usr/bin/env bash
# uvicorn 0.54.0: an ASGI application that is an `async def` method is called as ASGI 2.
#
# An ASGI 3 application is any awaitable callable of three arguments. uvicorn looks whether a plain
# function, or the `__call__` of anything else, is a coroutine function; that of a bound method is
# not one. So `site.app` is called with one argument, and every request is a 500. `--interface asgi3`
# helps; hypercorn 0.18.0 takes it as it is.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvicorn==0.54.0 hypercorn==0.18.0

cat >site_of_ours.py <<'PY'
class Site:
    async def app(self, scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


site = Site()
PY
cat >try.py <<'PY'
import socket
import subprocess
import sys
import time
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

SERVERS = {
    "uvicorn": ["uvicorn", "--lifespan=off", "--port={}"],
    "uvicorn --interface asgi3": ["uvicorn", "--lifespan=off", "--interface=asgi3", "--port={}"],
    "hypercorn": ["hypercorn", "--bind=127.0.0.1:{}"],
}
browser = build_opener(ProxyHandler({}))


def status(url):
    while True:
        try:
            return browser.open(url).status
        except HTTPError as error:
            return error.code
        except URLError:  # it doesn't listen yet
            time.sleep(0.05)


for name, (module, *options) in SERVERS.items():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *(one.format(port) for one in options)]
    with open("log", "a") as log:
        server = subprocess.Popen([*command, "site_of_ours:site.app"], stdout=log, stderr=log)
    print(f"{name}: {status(f'http://127.0.0.1:{port}/')}", flush=True)
    server.terminate()
    server.wait()
print([line.strip() for line in open("log") if line.startswith("TypeError")][0])
PY

cat >expected <<'TEXT'
uvicorn: 500
uvicorn --interface asgi3: 200
hypercorn: 200
TypeError: Site.app() missing 2 required positional arguments: 'receive' and 'send'
TEXT
venv/bin/python try.py | tee seen
diff expected seen
