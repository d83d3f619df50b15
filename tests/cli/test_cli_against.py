"""`jwt-middleware check --against OLD`: what a change does to those who are logged in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from jwt_middleware import Cookies, Former, KeySet, Proofs, Refresh, Route, Settings, TrustedIssuer
from jwt_middleware.cli.__main__ import main
from jwt_middleware.stores.memory import MemoryStore
from tests.cli.test_changing import CHANGES

ISSUER, NEW_NAME, API = "https://login.example", "https://id.example", "https://api.example"
SECRET, OTHER = "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd", "x2K9pTz4_qWvE7sYdN0bGhJ5mRcL8uFa"
MAC = "jJ4wB7cXn0ZrT2kLm9QyHs6VaGpU8eDf"
# As if from a file: keys that are made at import are a finding of their own.
ES, HS = KeySet(KeySet.generate("ES256").keys), KeySet.secret(MAC)
STORE = "postgresql://shop:pw@db.example/grants"
NOW = 1_800_000_000.0  # 2027-01-15
IN_30_DAYS = "2027-02-15"  # the midnight after that
Capture = pytest.CaptureFixture[str]
Against = Callable[..., tuple[int, str]]

old: dict[str, Any] = {}  # what the settings are made of
new: dict[str, Any] = {}


def clock() -> float:
    return NOW


def _made(fields: dict[str, Any]) -> Settings:
    given: dict[str, Any] = {"issuer": ISSUER, "audience": API, "keys": ES, "clock": clock}
    given |= fields
    group: dict[str, Any] | None = given.pop("refresh", {})
    if group is not None:
        stored: dict[str, Any] = {"store": STORE}
        given["refresh"] = Refresh(**(stored | group))
    return Settings(**given)


def make_old() -> Settings:
    return _made(old)


def make_new() -> Settings:
    return _made(new)


@pytest.fixture
def against(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Against:
    """Compare settings that differ in these fields; return the status and what was printed."""

    def against(before: dict[str, Any], after: dict[str, Any], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys.modules[__name__], "old", before)
        monkeypatch.setattr(sys.modules[__name__], "new", after)
        this = "tests.cli.test_cli_against:make"
        status = main(
            ["check", "--settings", f"{this}_new", "--against", f"{this}_old", *arguments]
        )
        out, err = capsys.readouterr()
        assert err == ""
        for secret in (SECRET, OTHER, MAC, "pw@"):
            assert secret not in out
        return status, out

    return against


def seen(out: str, what: str) -> list[str]:
    """Return the lines about one thing, each with its remedy."""
    found = re.findall(r"^(.{4}  .+?)\n?((?<=\n) {20}-> .*)?$", out, re.MULTILINE)
    return [
        f"{line[:4].strip()}: {line[6 + max(12, len(what)) :].strip()}{remedy.strip()}"
        for line, remedy in found
        if line[6:].startswith(what)
    ]


def test_what_stays_the_same_changes_nothing(against: Against) -> None:
    status, out = against({}, {})
    assert status == 0
    assert out == (
        "ok    refresh tokens  all stay: one made by the old settings is taken\n"
        "ok    store         the same\n"
        "ok    access tokens  stay to their end: one made by the old settings holds\n"
        "ok    services      those that only verify notice nothing\n"
    )


def _split(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a row of the other test is, as this one's settings have it."""
    settings = dict(fields)
    group = {name: settings.pop(name) for name in ("secret",) if name in settings}
    return settings | {"refresh": group}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_found_and_its_way_out_is_the_one_that_was_played(
    name: str, against: Against
) -> None:
    change = CHANGES[name]
    before = _split(change.before)
    after = _split(change.before | change.after)
    status, out = against(before, after)
    assert status == 1
    (line,) = seen(out, "refresh tokens")
    assert line.startswith("FAIL: all are logged out at once (")
    spelled = re.search(r"-> add to `former` what was: (Former\(.*\))$", line, re.MULTILINE)
    assert spelled is not None
    # The same names as the entry that tests/cli/test_changing.py plays: no more, no fewer.
    given = dict(re.findall(r"(\w+)=([^,]+?)(?:, |\)$)", spelled[1]))
    assert given.keys() == {"until", *change.former}
    assert given["until"] == f'"{IN_30_DAYS}"'

    entry = Former(until=IN_30_DAYS, **change.former)
    after["refresh"] = after["refresh"] | {"former": (entry,)}
    _, out = against(before, after)
    assert seen(out, "refresh tokens") == ["ok: all stay: one made by the old settings is taken"]


ANEW = "who hasn't refreshed by then logs in anew"
ENTRY = 'Former(until="2027-02-15", secret=<the old refresh.secret>)'


@pytest.mark.parametrize(
    ("until", "line"),
    [
        (IN_30_DAYS, "ok: all stay: one made by the old settings is taken"),
        ("2027-02-01", f"ok: stay until 2027-02-01T00:00Z: {ANEW}"),
        (
            "2027-01-20",
            (
                f"warn: stay until 2027-01-20T00:00Z: {ANEW}"
                f"-> who may be idle for longer: until = {IN_30_DAYS}"
            ),
        ),
        (
            NOW,
            f"FAIL: all are logged out at once (expired)-> add to `former` what was: {ENTRY}",
        ),
    ],
)
def test_the_date_is_found_by_trying(until: Any, line: str, against: Against) -> None:
    entry = Former(until=until, secret=SECRET)
    _, out = against(
        {"refresh": {"secret": SECRET}}, {"refresh": {"secret": OTHER, "former": (entry,)}}
    )
    assert seen(out, "refresh tokens") == [line]


def test_who_was_kept_before_is_looked_at_too(against: Against) -> None:
    entry = Former(until="2027-02-01", secret=OTHER)
    over = Former(until="2026-12-01", keys=ES)
    before = {"refresh": {"secret": (SECRET, MAC), "former": (entry, over)}}
    same = {"refresh": {"secret": (SECRET, MAC), "former": (entry,)}}
    assert against(before, same) == against({}, {})
    status, out = against(before, {"refresh": {"secret": SECRET}})
    assert status == 1
    (line,) = seen(out, "older ones")
    assert line.startswith("warn: of 2 secrets that had signed before, 2 are taken for a shorter")
    assert "if they have signed nothing for 30 d" in line
    assert seen(out, "refresh tokens") == ["ok: all stay: one made by the old settings is taken"]


def test_where_no_entry_can_help_it_says_so(against: Against) -> None:
    _, out = against({"refresh": {"secret": MAC}}, {"keys": HS, "refresh": {"secret": OTHER}})
    (line,) = seen(out, "refresh tokens")
    assert line.endswith("-> no entry of `former` can help: is its secret the key of access tokens "
                         "now?")  # fmt: skip


STORES: list[tuple[Any, Any, str]] = [
    (STORE, "postgres://other:pw@DB.example/grants?timeout=1", "ok: the same"),
    (STORE, f"{STORE}?schema=auth", "FAIL: all are logged out at once, unless"),
    (STORE, "redis://cache.example/0", "FAIL: all are logged out at once, unless"),
    ("redis://r/0?prefix=a", "rediss://u:pw@r/0?timeout=1&prefix=a", "ok: the same"),
    ("redis://r/0?prefix=a", "redis://r/0?prefix=b", "FAIL: all are logged out at once, unless"),
    ("sqlite:////var/a.db", "sqlite:////var/b.db", "FAIL: all are logged out at once, unless"),
    ("memory://", STORE, "FAIL: all are logged out at once: memory:// is gone"),
    (STORE, MemoryStore(clock=clock, retention=0), "-: an object"),
]


@pytest.mark.parametrize(("before", "after", "line"), STORES, ids=range(len(STORES)))
def test_another_store_has_no_grants(before: Any, after: Any, line: str, against: Against) -> None:
    _, out = against({"refresh": {"store": before}}, {"refresh": {"store": after}})
    (found,) = seen(out, "store")
    assert found.startswith(line)


IN_COOKIES, BOTH_IN_COOKIES = {"cookies": Cookies()}, {"cookies": Cookies(access=True)}


OUT = "all are logged out at once"
HELD = "ok: browsers hold 'refresh_token', which is looked for"
NO_MORE = (
    "warn: the access token in 'access_token' is looked for no more: requests get 401 until the "
    "page refreshes-> pages whose first request must be let in: keep it"
)
OTHERS: list[tuple[dict[str, Any], dict[str, Any], str, list[str]]] = [
    (
        {"idle_limit": 86400},
        {"idle_limit": 3600},
        "idle_limit",
        [
            (
                "warn: who hasn't refreshed for 1 h is logged out at once: it was 1 d"
                "-> lower it in steps, or leave it"
            )
        ],
    ),
    (
        {"idle_limit": 86400},
        {"absolute_limit": 2 * 86400, "idle_limit": 86400},
        "absolute_limit",
        ["ok: who is logged in keeps the end of that login, 30 d after it; new logins have 2 d"],
    ),
    (
        {"access_lifetime": 3600},
        {},
        "access_lifetime",
        ["ok: access tokens that are out live on, for 1 h at most"],
    ),
    ({}, {"access_lifetime": 3600, "idle_limit": 8 * 86400}, "idle_limit", []),
    (
        {},
        {"path": "/session"},
        "path",
        [
            (
                f"FAIL: clients that ask at /auth/refresh get no tokens there: {OUT}, until they "
                'know /session-> path="/auth"'
            )
        ],
    ),
    (
        IN_COOKIES,
        {},
        "cookies",
        [f"FAIL: nobody reads them any more: in browsers {OUT}-> Cookies()"],
    ),
    ({}, IN_COOKIES, "cookies", []),
    (IN_COOKIES, IN_COOKIES, "cookies", [HELD]),
    (
        IN_COOKIES,
        {"cookies": Cookies(name="rt")},
        "cookies",
        [
            (
                f"FAIL: browsers hold 'refresh_token', and 'rt' is looked for: in browsers {OUT}"
                '-> name="refresh_token"'
            )
        ],
    ),
    (BOTH_IN_COOKIES, BOTH_IN_COOKIES, "cookies", [HELD]),
    (BOTH_IN_COOKIES, IN_COOKIES, "cookies", [HELD, NO_MORE]),
    (
        BOTH_IN_COOKIES,
        {"cookies": Cookies(access=True, access_name="at")},
        "cookies",
        [HELD, NO_MORE],
    ),
    (
        {},
        {"jwks_path": "/keys.json"},
        "services",
        [
            (
                "warn: the key set moves from /.well-known/jwks.json to /keys.json-> "
                "KeySet.remote() there, which finds the keys by the issuer's name"
            )
        ],
    ),
]


ON_A_DEVICE = {"cookies": Cookies(access=True, device_bound=True)}
UNBOUND = "ok: logins that were bound to a device go on unbound"
STAY = (
    "ok: logins of before stay bound to no device; a process of a version that doesn't know "
    "device_bound drops the marks of others"
)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (ON_A_DEVICE, ON_A_DEVICE, [HELD]),
        (ON_A_DEVICE, BOTH_IN_COOKIES, [UNBOUND, HELD]),
        (BOTH_IN_COOKIES, ON_A_DEVICE, [STAY, HELD]),
    ],
)
def test_devices(
    before: dict[str, Any], after: dict[str, Any], lines: list[str], against: Against
) -> None:
    assert against({"refresh": before}, {"refresh": after})[0] == 0
    _, out = against({"refresh": before}, {"refresh": after})
    assert seen(out, "cookies") == lines


NO_PROOFS = (
    "FAIL: who has a login that is bound to a key gets 503 at each refresh, and keeps it unused"
    "-> keep `proofs`; a new login without a proof is bound to no key"
)
LESS = (
    "warn: clients whose key is for ES384, ES512, Ed25519, EdDSA can't refresh: they log in anew"
    "-> keep these algorithms"
)
REQUIRED = (
    "warn: access tokens that are bound to no key open no route any more: such clients log in "
    "anew, with a proof-> first have all clients log in with a key, then required=True"
)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (None, Proofs(), []),
        (Proofs(), Proofs(access=True), []),
        (Proofs(), None, [NO_PROOFS]),
        (Proofs(), Proofs(algorithms=("ES256",)), [LESS]),
        (Proofs(), Proofs(access=True, required=True), [REQUIRED]),
        (None, Proofs(access=True, required=True), [REQUIRED]),
        (Proofs(access=True, required=True), Proofs(access=True, required=True), []),
    ],
)
def test_logins_with_a_key(
    before: Proofs | None, after: Proofs | None, lines: list[str], against: Against
) -> None:
    login = (Route("/login", public=True, own_origin=True),)
    status, out = against({"routes": login, "proofs": before}, {"routes": login, "proofs": after})
    assert seen(out, "proofs") == lines
    assert status == int(bool(lines))


@pytest.mark.parametrize(
    ("before", "after", "what", "lines"), OTHERS, ids=[f"{i}-{r[2]}" for i, r in enumerate(OTHERS)]
)
def test_what_else_the_living_notice(
    before: dict[str, Any], after: dict[str, Any], what: str, lines: list[str], against: Against
) -> None:
    status, out = against({"refresh": before}, {"refresh": after})
    assert seen(out, what) == lines
    assert status == int(any(line[:4] in ("FAIL", "warn") for line in lines))


def test_a_renamed_issuer_is_told_to_all(against: Against) -> None:
    former = (Former(until="2027-02-15", issuer=ISSUER),)
    status, out = against(
        {"refresh": IN_COOKIES}, {"issuer": NEW_NAME, "refresh": IN_COOKIES | {"former": former}}
    )
    assert status == 1
    assert seen(out, "refresh tokens") == ["ok: all stay: one made by the old settings is taken"]
    assert seen(out, "access tokens") == [
        "ok: refused at once (issuer_not_trusted): clients refresh on 401, and get others"
    ]
    (line,) = seen(out, "services")
    assert line.startswith(f"warn: those that only verify know the issuer as '{ISSUER}', and")
    (_, line) = seen(out, "cookies")
    assert "moves from login.example to id.example, all are logged out at once, whatever" in line


SIGNER = KeySet.generate("ES256")


class Kms:
    def sign(self, message: bytes) -> bytes:
        private: Any = SIGNER.keys[0].private
        signature: bytes = private.sign(message, ec.ECDSA(hashes.SHA256()))
        return signature


EXTERNAL = KeySet.external(SIGNER.public_jwks()["keys"][0], Kms())
BOTH = KeySet((*ES.keys, *SIGNER.keys))
NAMED = KeySet.from_jwks({"keys": [ES.keys[0].to_jwk() | {"kid": "one"}]})
ALIKE = KeySet.from_jwks({"keys": [SIGNER.keys[0].to_jwk() | {"kid": "one"}]})
OWN = {"refresh": {"secret": SECRET}}


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"audience": ("other", API)}, "ok: stay to their end"),
        ({}, {"audience": "other"}, "ok: refused at once (audience_not_ours): clients"),
        ({"keys": ES}, {"keys": BOTH}, "ok: stay to their end"),
        ({"keys": ES}, {"keys": SIGNER}, "ok: refused at once (key_unknown)"),
        ({"keys": NAMED}, {"keys": ALIKE}, "ok: refused at once (signature_invalid)"),
        ({"keys": HS}, {"keys": HS}, "ok: stay to their end"),
        ({"keys": HS}, {"keys": ES}, "ok: refused at once (key_unknown)"),
        ({"keys": KeySet.secret(MAC, OTHER)}, {"keys": HS}, "ok: stay to their end"),
        (OWN | {"keys": EXTERNAL}, OWN | {"keys": SIGNER}, "ok: stay to their end"),
        ({}, {"refresh": None}, "ok: stay to their end"),
        ({}, {"refresh": None, "keys": SIGNER}, "warn: refused at once (key_unknown)"),
        ({"refresh": None}, {"refresh": None, "audience": "x"}, "warn: refused at once (audience_"),
        ({"refresh": None, "keys": KeySet.remote()}, {}, "-: the old keys are somewhere else"),
        ({}, {"refresh": None, "keys": KeySet.remote()}, "ok: stay to their end"),
        ({}, {"issuer": NEW_NAME, "issuer_for": print}, "ok: stay to their end"),
        (
            {},
            {
                "issuer": NEW_NAME,
                "trusted_issuers": (TrustedIssuer(issuer=ISSUER, audience=API, keys=ES),),
            },
            "ok: stay to their end",
        ),
    ],
)
def test_access_tokens_are_made_and_tried(
    before: dict[str, Any], after: dict[str, Any], line: str, against: Against
) -> None:
    _, out = against(before, after)
    (found,) = seen(out, "access tokens")
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {"keys": BOTH}, ["ok: those that only verify notice nothing"]),
        ({"keys": SIGNER}, {"keys": BOTH}, ["ok: those with KeySet.remote() find the new key"]),
        ({"keys": HS}, {"keys": ES}, ["warn: those that verify with the old secret refuse"]),
        ({"keys": KeySet.secret(MAC, OTHER)}, {"keys": KeySet.secret(OTHER, MAC)}, ["ok: those"]),
        (
            {"audience": ("a", "b")},
            {"audience": ("b", "c")},
            ["warn: tokens are no longer for 'a'"],
        ),
    ],
)
def test_services_that_only_verify_are_thought_of(
    before: dict[str, Any], after: dict[str, Any], lines: list[str], against: Against
) -> None:
    found = seen(against(before, after)[1], "services")
    assert len(found) == len(lines)
    assert all(one.startswith(line) for one, line in zip(found, lines, strict=True))


def test_where_nobody_issues_nobody_is_logged_in(against: Against) -> None:
    status, out = against({"refresh": None}, {})
    assert (status, seen(out, "logins")) == (
        0,
        ["-: the old settings issue nothing: nobody is logged in by them"],
    )
    serves_not = {"store": STORE, "serve": False}
    status, out = against({}, {"refresh": serves_not})
    assert status == 1
    assert seen(out, "logins")[0].startswith("FAIL: all are logged out at once, when their access")


# --- where the settings are from


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ES.save("keys.json")
    SIGNER.save("new.json")
    return tmp_path


def toml(name: str, keys: str, **refresh: str) -> None:
    lines = [f'{field} = "{value}"' for field, value in ({"store": STORE} | refresh).items()]
    Path(name).write_text(
        f'[jwt_middleware]\nissuer = "{ISSUER}"\naudience = "{API}"\nkeys = "{keys}"\n'
        "[jwt_middleware.refresh]\n" + "\n".join(lines) + "\n"
    )


def pasted(out: str) -> str:
    found = re.search(r"-> add to `former` what was: (.*)$", out, re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_way_out_can_be_pasted_into_toml(folder: Path, capsys: Capture) -> None:
    toml("old.toml", "keys.json")
    toml("app.toml", "new.json")
    assert main(["check", "--toml", "app.toml", "--against", "old.toml"]) == 1
    entry = pasted(capsys.readouterr().out)
    assert entry.endswith(f', keys = "{folder}/keys.json"}}')
    with open("app.toml", "a") as opened:
        opened.write(f"former = [{entry}]\n")
    assert main(["check", "--toml", "app.toml", "--against", "old.toml"]) == 0
    assert "all stay" in capsys.readouterr().out


def test_the_way_out_can_be_pasted_into_the_environment(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml("old.toml", "keys.json")
    for name, value in (
        *(("ISSUER", ISSUER), ("AUDIENCE", API), ("KEYS", "new.json")),
        ("REFRESH__STORE", STORE),
    ):
        monkeypatch.setenv(f"SHOP_{name}", value)
    assert main(["check", "--prefix", "SHOP_", "--against", "old.toml"]) == 1
    name, _, value = pasted(capsys.readouterr().out).partition("=")
    assert name == "SHOP_REFRESH__FORMER"
    monkeypatch.setenv(name, value.strip("'"))
    assert main(["check", "--prefix", "SHOP_", "--against", "old.toml"]) == 0
    assert "all stay" in capsys.readouterr().out


def test_the_way_out_can_be_pasted_into_python(against: Against, folder: Path) -> None:
    _, out = against({"keys": KeySet.load("keys.json")}, {"keys": SIGNER})
    assert pasted(out) == f'Former(until="2027-02-15", keys=KeySet.load("{folder}/keys.json"))'
    _, out = against({"keys": HS}, {"issuer": NEW_NAME})
    assert pasted(out) == f'Former(until="2027-02-15", keys=<the old keys>, issuer="{ISSUER}")'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.toml", "gone.toml: No such file"),
        (
            "tests.cli.test_cli_against:nobody",
            "--against tests.cli.test_cli_against:nobody: AttributeError",
        ),
        (
            "tests.cli.test_cli_against:NOW",
            "--against tests.cli.test_cli_against:NOW: is float, not",
        ),
    ],
)
def test_settings_that_can_not_be_had_are_named(
    name: str, words: str, folder: Path, capsys: Capture
) -> None:
    toml("app.toml", "new.json")
    assert main(["check", "--toml", "app.toml", "--against", name]) == 2
    out, err = capsys.readouterr()
    assert words in out + err or "gone.toml" in out


def test_json_is_one_object_a_line(against: Against) -> None:
    status, out = against({}, {"keys": HS}, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [one["state"] for one in found if one["what"] == "refresh tokens"] == ["fail"]


def test_what_is_risky_is_said_before(against: Against) -> None:
    entry = Former(until="2026-12-31", secret=SECRET)
    status, out = against({}, {"refresh": {"former": (entry,)}})
    assert status == 1
    assert out.startswith(
        "warn  refresh.former[0]  its date is past: it verifies nothing [former-over]"
    )
