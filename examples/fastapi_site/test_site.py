"""The site's own tests: `pytest examples/fastapi_site`."""

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from jwt_middleware.testing import Attack, Clock, TokenFactory

from . import live
from .users import Users

PAGE = {"X-Requested-With": "fetch", "Sec-Fetch-Site": "same-origin"}  # as jwt-client.js sends


def log_in(client: TestClient, name: str, scope: str = "") -> dict[str, str]:
    """Log in, and return the header with the access token; the client keeps the cookie."""
    form = {"username": name, "password": f"{name}'s password", "scope": scope}
    answer = client.post("/login", data=form)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def refresh(client: TestClient) -> dict[str, str]:
    """Do what the page does ahead of the token's end."""
    answer = client.post("/auth/refresh", headers=PAGE)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def subprotocols(bearer: dict[str, str]) -> list[str]:
    return ["bearer", bearer["Authorization"].removeprefix("Bearer ")]


# --- logging in


def test_a_login_gives_what_the_role_may_do(client: TestClient) -> None:
    alice = log_in(client, "alice")
    assert client.get("/api/me", headers=alice).json() == {
        "name": "alice",
        "role": "editor",
        "scopes": ["notes:read", "notes:write"],
    }


def test_a_login_may_ask_for_less_and_never_gets_more(client: TestClient) -> None:
    careful = log_in(client, "alice", "notes:read")
    assert client.get("/api/me", headers=careful).json()["scopes"] == ["notes:read"]
    greedy = log_in(client, "bob", "notes:read notes:write admin")
    assert client.get("/api/me", headers=greedy).json()["scopes"] == ["notes:read"]


@pytest.mark.parametrize("name", ["alice", "mallory"])
def test_a_wrong_password_is_no_login(client: TestClient, name: str) -> None:
    answer = client.post("/login", data={"username": name, "password": "guess"})
    assert (answer.status_code, dict(answer.cookies)) == (400, {})


def test_a_strange_browser_logs_in_too(client: TestClient) -> None:
    client.headers["User-Agent"] = "A\tbrowser" + "x" * 300
    alice = log_in(client, "alice")
    (session,) = client.get("/auth/sessions", headers=alice).json()["sessions"]
    assert session["label"].startswith("Abrowserx")


def test_another_site_logs_nobody_in(client: TestClient) -> None:
    form = {"username": "bob", "password": "bob's password"}
    answer = client.post("/login", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, dict(answer.cookies)) == (403, {})


# --- scopes and roles


def test_scopes_stand_in_routes_and_beside_endpoints(
    client: TestClient, jwt_factory: TokenFactory
) -> None:
    note = {"text": "hello"}
    for scope, reads, writes in (
        ("", 403, 403),
        ("notes:read", 200, 403),
        ("notes:write", 403, 403),
        ("notes:read notes:write", 200, 201),
    ):
        bearer = jwt_factory.bearer(sub="alice", scope=scope)
        assert client.get("/api/notes", headers=bearer).status_code == reads
        assert client.post("/api/notes", json=note, headers=bearer).status_code == writes
    assert client.get("/api/notes").status_code == 401


def test_a_role_is_fresh_at_each_refresh(client: TestClient, users: Users) -> None:
    bob, role = log_in(client, "bob"), {"role": "editor"}
    users.change_role("bob", "editor")
    assert client.get("/api/me", headers=bob).json()["role"] == "reader"
    assert client.get("/api/me", headers=refresh(client)).json()["role"] == "editor"
    assert client.put("/api/admin/users/alice/role", json=role, headers=bob).status_code == 403


def test_an_admin_of_yesterday_is_none_any_more(client: TestClient, users: Users) -> None:
    grace, role = log_in(client, "grace"), {"role": "editor"}
    assert client.put("/api/admin/users/bob/role", json=role, headers=grace).status_code == 204
    assert client.put("/api/admin/users/eve/role", json=role, headers=grace).status_code == 404
    assert users.role("bob") == "editor"
    users.change_role("grace", "reader")
    grace = refresh(client)  # the scope stays with the login, the role doesn't
    assert "admin" in client.get("/api/me", headers=grace).json()["scopes"]
    assert client.put("/api/admin/users/bob/role", json=role, headers=grace).status_code == 403


def test_an_admin_logs_a_user_out(client: TestClient) -> None:
    bob = log_in(client, "bob")
    client.cookies.clear()
    grace = log_in(client, "grace")
    assert client.post("/api/admin/users/bob/logout", headers=bob).status_code == 403
    assert client.post("/api/admin/users/bob/logout", headers=grace).status_code == 204
    assert client.get("/api/me", headers=bob).status_code == 401


# --- logging out


def test_a_log_out_ends_this_login_and_no_other(client: TestClient) -> None:
    phone = log_in(client, "alice")
    client.cookies.clear()
    laptop = log_in(client, "alice")
    assert client.post("/auth/revoke", headers=PAGE).status_code == 200
    assert client.get("/api/me", headers=laptop).status_code == 401
    assert client.get("/api/me", headers=phone).status_code == 200


def test_devices_are_listed_and_ended_one_by_one(client: TestClient) -> None:
    client.headers["User-Agent"] = "A phone"
    phone = log_in(client, "alice")
    client.cookies.clear()
    client.headers["User-Agent"] = "A laptop"
    laptop = log_in(client, "alice")
    sessions = client.get("/auth/sessions", headers=laptop).json()["sessions"]
    assert {(one["label"], one["current"]) for one in sessions} == {
        ("A phone", False),
        ("A laptop", True),
    }
    (other,) = [one["id"] for one in sessions if not one["current"]]
    assert client.delete(f"/auth/sessions/{other}", headers=laptop).status_code == 204
    assert client.get("/api/me", headers=phone).status_code == 401
    assert client.get("/api/me", headers=laptop).status_code == 200


def test_to_log_out_everywhere_ends_all(client: TestClient) -> None:
    phone = log_in(client, "alice")
    client.cookies.clear()
    laptop = log_in(client, "alice")
    assert client.post("/api/logout-everywhere", headers=laptop).status_code == 204
    assert not client.cookies
    for bearer in (phone, laptop):
        assert client.get("/api/me", headers=bearer).status_code == 401


# --- what stays open


def test_the_chat_is_told_to_all(client: TestClient) -> None:
    alice = log_in(client, "alice")
    client.cookies.clear()  # else it is one browser, in which a new login ends the former
    bob = log_in(client, "bob")
    with (
        client.websocket_connect("/live/chat", subprotocols(alice)) as one,
        client.websocket_connect("/live/chat", subprotocols(bob)) as two,
    ):
        one.send_json({"say": "hello"})
        assert one.receive_json() == two.receive_json() == {"line": "alice: hello"}
        two.send_json({"say": "hello"})
        assert two.receive_json() == {"error": "you may only listen"}


def test_the_chat_goes_on_with_a_fresh_token(client: TestClient, jwt_clock: Clock) -> None:
    alice = log_in(client, "alice")
    with client.websocket_connect("/live/chat", subprotocols(alice)) as chat:
        jwt_clock.advance(500)
        _, fresh = subprotocols(refresh(client))
        chat.send_json({"token": fresh})
        assert chat.receive_json().keys() == {"renewed"}
        jwt_clock.advance(500)
        chat.send_json({"say": "still here"})
        assert chat.receive_json() == {"line": "alice: still here"}
        client.cookies.clear()
        _, stranger = subprotocols(log_in(client, "bob"))
        chat.send_json({"token": stranger})
        assert chat.receive_json() == {"error": "invalid_token"}


def test_the_chat_ends_with_its_token(client: TestClient, jwt_clock: Clock) -> None:
    with client.websocket_connect("/live/chat", subprotocols(log_in(client, "alice"))) as chat:
        jwt_clock.advance(660)  # 600 seconds, the leeway, and a few more
        with pytest.raises(WebSocketDisconnect) as ended:
            chat.receive_json()
    assert (ended.value.code, ended.value.reason) == (4401, "expired")


def test_the_chat_ends_with_the_login(client: TestClient) -> None:
    alice = log_in(client, "alice")
    with client.websocket_connect("/live/chat", subprotocols(alice)) as chat:
        assert client.post("/auth/revoke", headers=PAGE).status_code == 200
        with pytest.raises(WebSocketDisconnect) as ended:
            chat.receive_json()
    assert (ended.value.code, ended.value.reason) == (4401, "grant_ended")


def test_the_chat_tells_a_page_why_it_is_not_let_in(
    client: TestClient, jwt_factory: TokenFactory
) -> None:
    for bearer, code in (
        (jwt_factory.bearer(sub="alice", scope="other"), 4403),
        (jwt_factory.bearer(sub="alice", scope="notes:read", exp=1), 4401),
    ):
        with (
            client.websocket_connect("/live/chat", subprotocols(bearer)) as chat,
            pytest.raises(WebSocketDisconnect) as refused,
        ):
            chat.receive_json()
        assert refused.value.code == code


def test_downloads_are_whole(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE", 0)
    alice = log_in(client, "alice")
    assert len(client.get("/live/archive", headers=alice).content) == 100_000
    assert client.get("/live/export", headers=alice).text.count("\n") == 200_000


# --- what comes from outside


def test_an_attack_is_refused(client: TestClient, jwt_attack: Attack) -> None:
    assert client.get("/api/me", headers=jwt_attack.raw).status_code in jwt_attack.statuses


def test_nobody_sees_or_ends_another_users_login(
    client: TestClient, jwt_factory: TokenFactory
) -> None:
    bob = log_in(client, "bob")
    client.cookies.clear()
    (login,) = client.get("/auth/sessions", headers=bob).json()["sessions"]
    for attack in jwt_factory.attacks(jwt_factory.settings(), grant_id=login["id"]):
        if attack.path:
            answer = client.request(attack.method, attack.path, headers=attack.raw)
            assert answer.status_code in attack.statuses, attack
    assert client.get("/api/me", headers=bob).status_code == 200


def test_nothing_is_public_by_oversight(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    public = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "security" not in operation
    }
    assert public == {"/login"}
