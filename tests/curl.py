"""What the lines of the examples need of curl, where there is none: `python tests/curl.py ...`."""

import json
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE = 30  # seconds
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def main(arguments: list[str]) -> None:
    """Send one request, and print the answer's body, with -i the whole of it."""
    url, headers, bodies, jar, keep = "", dict[str, str](), list[str](), "", ""
    whole = False
    rest = iter(arguments)
    for one in rest:
        match one:
            case "-H":
                name, value = next(rest).split(": ", 1)
                headers[name] = value
            case "-d" | "--json":
                headers.setdefault("Content-Type", JSON if one == "--json" else FORM)
                bodies.append(next(rest))
            case "-b":
                jar = next(rest)
            case "-c":
                keep = next(rest)
            case "-i":
                whole = True
            case "-s":
                pass
            case _:
                url = one
    there = urlsplit(url)
    pairs = [one for one in cookies(jar) if there.path.startswith(one["path"])] if jar else []
    if pairs:
        headers["Cookie"] = "; ".join(f"{one['name']}={one['value']}" for one in pairs)
    connection = HTTPConnection(there.hostname or "", there.port, timeout=PATIENCE)
    body = "&".join(bodies) if bodies else None
    connection.request("GET" if body is None else "POST", there.path, body, headers)
    answer = connection.getresponse()
    fields = (f"{name}: {value}" for name, value in answer.getheaders())
    first = f"HTTP/1.1 {answer.status} {answer.reason}"
    head = "\n".join((first, *fields, "", "")) if whole else ""
    sys.stdout.write(head + answer.read().decode())
    if keep:
        known = {one["name"]: one for one in cookies(jar)} if jar else {}
        known |= {one["name"]: one for one in map(parsed, answer.msg.get_all("Set-Cookie", []))}
        alive = [one for one in known.values() if one["value"]]
        Path(keep).write_text("\n".join(map(json.dumps, alive)), "utf-8")
    connection.close()


def parsed(field: str) -> dict[str, str]:
    pair, *attributes = field.split("; ")
    name, _, value = pair.partition("=")
    named = dict(one.lower().split("=", 1) for one in attributes if "=" in one)
    return {"name": name, "value": value, "path": named["path"]}


def cookies(jar: str) -> Iterator[dict[str, str]]:
    return map(json.loads, Path(jar).read_text("utf-8").splitlines())


if __name__ == "__main__":
    main(sys.argv[1:])
