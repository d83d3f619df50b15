"""What has gone wrong elsewhere with fetched keys: one test for each advisory, by its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jwt_middleware import ConfigurationError, KeySet, TrustedIssuer
from jwt_middleware.testing import TokenFactory
from tests.issuing import Clock
from tests.keyserver import KeyServer, answer, document, key_set
from tests.keyserver.site import DOORS, Author, Site, settle

each_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture
def author(server: KeyServer, clock: Clock) -> Author:
    one = Author(server.base, clock)
    server.publish(key_set(one.keys))
    return one


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
@each_door
def test_cve_2026_48522_keys_are_read_from_no_other_kind_of_url(
    scheme: str, door: str, server: KeyServer, author: Author, tmp_path: Path
) -> None:
    planted = tmp_path / "keys.json"
    text = json.dumps(author.keys.public_jwks())
    planted.write_text(text)
    url = {
        "file": planted.as_uri(),
        "ftp": f"ftp://127.0.0.1:{server.port}/jwks",
        "data": f"data:application/json,{text}",
    }[scheme]
    with pytest.raises(ConfigurationError, match="is no absolute URL"):
        KeySet.remote(url)
    # Nor where the issuer's own metadata leads there.
    server.describe(jwks_uri=url)
    assert not Site(door, author.settings(KeySet.remote())).served(author.token())
    assert server.count == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@each_door
def test_ghsa_9v7f_a_redirect_leads_nowhere(
    status: int, door: str, server: KeyServer, author: Author, tmp_path: Path
) -> None:
    inside = tmp_path / "keys.json"
    inside.write_text(json.dumps(author.keys.public_jwks()))
    server.pages["/elsewhere"] = key_set(author.keys)
    for target in ("/elsewhere", f"{server.base}/elsewhere", inside.as_uri()):
        server.publish(answer("", f"Location: {target}", status=status))
        site = Site(door, author.settings(KeySet.remote(server.url)))
        assert not site.served(author.token())
    assert "/elsewhere" not in server.fetches


@each_door
def test_ghsa_9v7f_metadata_of_another_issuer_names_no_keys(
    door: str, server: KeyServer, author: Author
) -> None:
    server.describe(issuer="https://attacker.example")
    assert not Site(door, author.settings(KeySet.remote())).served(author.token())
    assert server.count == 0


@each_door
def test_pysec_2026_177_unknown_kids_make_nobody_fetch_without_end(
    door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    site = Site(door, author.settings(KeySet.remote(server.url)))
    assert site.served(author.token())
    clock.forward(30)
    forged = [author.factory.token(header={"kid": f"forged-{number}"}) for number in range(500)]
    answers = site.flood(forged)
    assert {one.status for one in answers} <= {401, 503}
    assert server.count == 2


@pytest.mark.parametrize("fault", ["down", "garbage", "empty"])
@each_door
def test_ghsa_2gx3_a_failed_fetch_takes_no_keys_away(
    fault: str, door: str, server: KeyServer, author: Author, clock: Clock
) -> None:
    site = Site(door, author.settings(KeySet.remote(server.url)))
    assert site.served(author.token())
    if fault == "down":
        server.go_down()
    else:
        server.publish(answer("oh") if fault == "garbage" else document({"keys": []}))
    clock.forward(31)
    assert not site.served(author.rotated().token())
    for _ in range(5):
        clock.forward(600)
        assert site.served(author.token())
        settle()


@each_door
def test_cve_2025_59936_a_key_is_remembered_for_its_issuer_and_no_other(
    door: str, server: KeyServer, clock: Clock
) -> None:
    """An attacker who is a trusted issuer himself names his key like the victim's."""
    victim, attacker = (
        TokenFactory(issuer=f"{server.base}/{name}", clock=clock) for name in ("a", "b")
    )
    for one, path in ((victim, "/a/jwks"), (attacker, "/b/jwks")):
        one.keys = KeySet.generate(kid="1")
        server.pages[path] = key_set(one.keys)
    settings = TokenFactory(clock=clock).settings(
        trusted_issuers=[
            TrustedIssuer(
                issuer=one.issuer,
                audience=one.audience,
                keys=KeySet.remote(f"{one.issuer}/jwks"),
            )
            for one in (victim, attacker)
        ]
    )
    site = Site(door, settings)
    assert site.get(attacker.token()).reached  # his key is known now, under its name
    forged = attacker.token(iss=victim.issuer, sub="admin")
    for _ in range(2):
        assert site.get(forged).reason == "signature_invalid"
        assert site.get(victim.token()).reached
