"""What can be wrong with a key server: what each fault does to one, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable

from jwt_middleware import KeySet
from jwt_middleware.testing import TokenFactory
from tests.keyserver import (
    KeyServer,
    Line,
    Play,
    answer,
    cut,
    document,
    drip,
    endless,
    hang,
    key_set,
)
from tests.keyserver.site import Paced
from tests.waiting import PATIENCE

QUICK = 0.1  # seconds for a fetch that is never answered
NO_ANSWER = f"doesn't answer in {QUICK} s"

OTHER = TokenFactory()  # somebody else, whose key nobody trusts
SECRET = KeySet.generate("HS256").keys[0].to_jwk()


def down(server: KeyServer) -> None:
    server.go_down()


def silent(server: KeyServer) -> None:
    server.greets = False


def playing(play: Play) -> Callable[[KeyServer], None]:
    return lambda server: server.publish(play)


def one_after_the_other(*plays: Play) -> Play:
    def play(line: Line) -> None:
        for one in plays:
            one(line)

    return play


GOOD = OTHER.key.public_jwk()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

FAULTS: dict[str, tuple[Callable[[KeyServer], None], str]] = {
    "down": (down, "Connection refused"),
    "says nothing from the start": (silent, NO_ANSWER),
    "hangs": (playing(hang), NO_ANSWER),
    "drips its headers": (playing(drip(HEAD)), NO_ANSWER),
    "drips its body": (
        playing(one_after_the_other(cut(HEAD + b"\r\n"), drip(b"{" + b" " * 999))),
        NO_ANSWER,
    ),
    "goes on with 100": (
        playing(endless(b"HTTP/1.1 100 Continue\r\n\r\n")),
        NO_ANSWER,
    ),
    "hangs up": (playing(cut(b"")), "RemoteDisconnected"),
    "hangs up in the middle": (playing(cut(HEAD + b'\r\n{"keys": [')), "not one JSON object"),
    "promises more than it sends": (
        playing(answer('{"keys": [', length=999)),
        "not one JSON object",
    ),
    "cuts a chunk off": (
        playing(cut(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}")),
        "IncompleteRead",
    ),
    "doesn't speak HTTP": (playing(cut(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")), "BadStatusLine"),
    "has a header without end": (
        playing(endless(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999)),
        "LineTooLong",
    ),
    "has headers without end": (
        playing(one_after_the_other(cut(HEAD), endless(b"X: x\r\n"))),
        "HTTPException",
    ),
    "answers 500": (playing(answer("oh", status=500)), "answers 500"),
    "answers 404": (playing(answer("no", status=404)), "answers 404"),
    "answers 204": (playing(answer("", status=204)), "answers 204"),
    "answers 206": (playing(answer("{}", status=206)), "answers 206"),
    "redirects": (
        playing(answer("", "Location: /elsewhere", status=302)),
        "answers 302",
    ),
    "redirects for ever": (
        playing(answer("", "Location: /jwks", status=308)),
        "answers 308",
    ),
    "sends 10 MB": (
        playing(answer(b'{"keys": [], "x": "' + b"x" * 10_000_000 + b'"}')),
        "answers more than 1048576 octets",
    ),
    "sends without end": (
        playing(one_after_the_other(cut(HEAD + b"\r\n"), endless(b" " * 65536))),
        "answers more than 1048576 octets",
    ),
    "sends garbage": (playing(answer(bytes(range(256)))), "not one JSON object"),
    "sends a page": (playing(answer("<!doctype html><p>Hello")), "not one JSON object"),
    "sends a set twice": (
        playing(answer(b'{"keys": [], "keys": []}')),
        "not one JSON object without duplicate members",
    ),
    "sends what is too deep": (playing(answer(b"[" * 100_000)), "not one JSON object"),
    "sends no set": (playing(document({"error": "none"})), "not a JWK Set"),
    "sends an empty set": (playing(key_set()), "no key of the set can be used: it is empty"),
    "sends no keys": (playing(document({"keys": ["a"]})), "keys[0]: a key must be a JSON object"),
    "sends a private key": (
        playing(key_set(GOOD, OTHER.key.to_jwk() | {"kid": "2"})),
        "keys[1]: is a secret, and published",
    ),
    "sends a secret": (playing(document({"keys": [SECRET]})), "keys[0]: is a secret"),
    "sends a mixed set": (playing(key_set(GOOD, SECRET)), "keys[1]: is a secret, and published"),
    "sends a kid twice": (
        playing(key_set(GOOD, TokenFactory().key.public_jwk() | {"kid": GOOD["kid"]})),
        "no key of the set can be used: another key has the same kid and is for ES256, too",
    ),
    "sends unusable keys only": (
        playing(key_set(GOOD | {"use": "enc"}, {"kty": "AKP", "kid": "pq"})),
        "no key of the set can be used: key type 'AKP' is not supported",
    ),
    "sends too many keys": (
        playing(document({"keys": [{"kty": "AKP", "kid": str(one)} for one in range(257)]})),
        "has more than 256 keys",
    ),
}


def begin(fault: str, server: KeyServer, fetcher: Paced) -> str:
    """Let a fault begin; return what is told of it. Only where no answer comes, time is short."""
    spoil, detail = FAULTS[fault]
    spoil(server)
    fetcher.most = QUICK if detail == NO_ANSWER else PATIENCE
    return detail


def mend(server: KeyServer, fetcher: Paced, play: Play) -> None:
    """Let it end, and the key set be what this says."""
    server.mend(play)
    fetcher.most = PATIENCE
