"""`python manage.py test`: Django's own client goes through the middleware."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client, TestCase
from rest_framework.test import APIClient

from jwt_middleware.testing import Clock, TokenFactory

MINE = settings.JWT_MIDDLEWARE
# What a browser says of a page load, and of a form of this site.
LOAD = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
FORM = LOAD | {"Origin": MINE.issuer}
ALICE = {"username": "alice", "password": "wonderland"}
FAST = "django.contrib.auth.hashers.MD5PasswordHasher"
URLENCODED = "application/x-www-form-urlencoded"  # a test client's own default is multipart


def visitor(headers: dict[str, str] | None = None) -> Any:
    """Return a client of Django's that sends these fields with each request."""
    return Client(headers=headers)


def caller(access_token: str) -> Any:
    """Return a client of REST framework's that sends this token with each request."""
    return APIClient(headers={"Authorization": f"Bearer {access_token}"})


class Site(TestCase):
    def setUp(self) -> None:
        # A store in memory and a clock for each test, so that ten minutes take no time.
        self.clock = Clock()
        tested = MINE.replace(refresh__store="memory://", clock=self.clock)
        self.enterContext(self.settings(JWT_MIDDLEWARE=tested, PASSWORD_HASHERS=[FAST]))
        self.alice = get_user_model().objects.create_user(**ALICE)

    def browser(self, agent: str = "Firefox") -> Any:
        """Return a browser in which alice has logged in."""
        client = visitor(FORM | {"User-Agent": agent})
        self.assertRedirects(client.post("/login", ALICE), "/")
        return client

    def app(self, scope: str) -> tuple[Any, dict[str, Any]]:
        """Return an app in which alice has logged in, and its tokens."""
        tokens = visitor().post("/api/login", ALICE | {"scope": scope}).json()
        return caller(tokens["access_token"]), tokens


class Pages(Site):
    def test_a_page_leads_to_the_login_and_back(self) -> None:
        client = visitor(FORM)
        self.assertRedirects(client.get("/devices"), "/login?next=/devices", status_code=303)
        wrong = client.post("/login?next=/devices", ALICE | {"password": "x"})
        self.assertContains(wrong, "correct username", status_code=403)
        self.assertRedirects(client.post("/login?next=/devices", ALICE), "/devices")
        self.alice.refresh_from_db()
        self.assertIsNotNone(self.alice.last_login)

    def test_an_expired_token_is_renewed_on_the_way(self) -> None:
        client = self.browser()
        self.clock.advance(700)
        answer = client.get("/devices", follow=True)
        self.assertContains(answer, "(this one)")
        there = "/auth/continue?next=/devices"
        self.assertEqual(answer.redirect_chain, [(there, 303), ("/devices", 303)])

    def test_notes_are_the_users_own(self) -> None:
        client = self.browser()
        self.assertContains(client.post("/notes", {"text": "<b>"}, follow=True), "&lt;b&gt;")
        self.assertContains(visitor(LOAD).get("/"), "Hello stranger")

    def test_roles_are_fresh_at_each_refresh(self) -> None:
        bob = get_user_model().objects.create_user("bob")
        bob.note_set.create(text="of bob")
        client = self.browser()
        self.alice.groups.add(Group.objects.create(name="editors"))
        self.assertNotContains(client.get("/"), "of bob")
        page = {"X-Requested-With": "fetch"}  # as a script refreshes
        answer = client.post("/auth/refresh", "", content_type=URLENCODED, headers=page)
        self.assertEqual(answer.status_code, 200)
        self.assertContains(client.get("/"), "of bob")

    def test_who_is_deactivated_is_out(self) -> None:
        client = self.browser()
        self.alice.is_active = False
        self.alice.save()
        self.assertRedirects(client.get("/"), "/login?next=/", status_code=303)
        self.clock.advance(700)
        answer = client.get("/devices", follow=True)
        self.assertEqual(answer.redirect_chain[-1], ("/login?next=/devices", 303))

    def test_the_admin_has_its_own_session(self) -> None:
        get_user_model().objects.create_superuser("root", password="toor")
        client = self.browser()
        client.post("/admin/login/", {"username": "root", "password": "toor"})
        self.assertContains(client.get("/admin/"), "root")
        self.assertContains(client.get("/"), "Hello alice")


class Devices(Site):
    def test_one_device_ends_another(self) -> None:
        laptop, phone = self.browser("Laptop"), self.browser("Phone")
        page = laptop.get("/devices")
        self.assertEqual(
            [one["login"].label for one in page.context["devices"]], ["Phone", "Laptop"]
        )
        other = page.context["devices"][0]["login"].id
        self.assertRedirects(laptop.post(f"/devices/{other}/end"), "/devices")
        self.assertEqual(laptop.post(f"/devices/{other}/end").status_code, 404)
        gone = phone.get("/devices", follow=True)
        self.assertRedirects(gone, "/login?next=/devices", status_code=303)

    def test_nobody_ends_another_users_login(self) -> None:
        laptop = self.browser()
        (alices,) = laptop.get("/devices").context["devices"]
        get_user_model().objects.create_user("bob", password="builder")
        bob = visitor(FORM)
        bob.post("/login", {"username": "bob", "password": "builder"})
        self.assertEqual(bob.post(f"/devices/{alices['login'].id}/end").status_code, 404)
        self.assertContains(laptop.get("/devices"), "(this one)")

    def test_log_out_ends_this_one_and_log_out_everywhere_all(self) -> None:
        laptop, phone, (app, _) = self.browser(), self.browser(), self.app("notes:read")
        self.assertRedirects(laptop.post("/logout"), "/")
        self.assertContains(laptop.get("/"), "Hello stranger")
        self.assertContains(phone.get("/"), "Hello alice")
        self.assertRedirects(phone.post("/log-out-everywhere"), "/")
        self.assertContains(phone.get("/"), "Hello stranger")
        self.assertEqual(app.get("/api/notes").status_code, 401)

    def test_a_new_password_ends_all_others(self) -> None:
        laptop, phone = self.browser(), self.browser()
        new = {"new_password1": "looking-glass", "new_password2": "looking-glass"}
        self.assertContains(laptop.post("/password", {"old_password": "x", **new}), "incorrectly")
        answer = laptop.post("/password", {"old_password": "wonderland", **new}, follow=True)
        self.assertContains(answer, "Hello alice")
        self.assertContains(phone.get("/"), "Hello stranger")


class Api(Site):
    def test_the_scope_says_what_an_app_may_do(self) -> None:
        for scope, status in (("notes:read notes:write", 201), ("notes:read", 403)):
            app, _ = self.app(scope)
            self.assertEqual(app.post("/api/notes", {"text": "x"}).status_code, status)
            self.assertEqual([one["text"] for one in app.get("/api/notes").json()], ["x"])
        self.assertEqual(visitor().get("/api/notes").status_code, 401)
        wrong = visitor().post("/api/login", ALICE | {"password": "x"})
        self.assertEqual(wrong.status_code, 403)

    def test_an_app_refreshes_and_logs_out(self) -> None:
        app, tokens = self.app("notes:read")
        self.clock.advance(700)
        self.assertEqual(app.get("/api/notes").status_code, 401)
        body = f"grant_type=refresh_token&refresh_token={tokens['refresh_token']}"
        fresh = visitor().post("/auth/refresh", body, content_type=URLENCODED).json()
        app = caller(fresh["access_token"])
        self.assertEqual(app.get("/api/notes").status_code, 200)
        gone = f"token={fresh['refresh_token']}"
        visitor().post("/auth/revoke", gone, content_type=URLENCODED)
        self.assertEqual(app.get("/api/notes").status_code, 401)

    def test_a_page_of_this_site_uses_the_api_with_its_cookies(self) -> None:
        script = {"X-Requested-With": "fetch"}
        answer = self.browser().post("/api/notes", {"text": "x"}, headers=script)
        self.assertEqual(answer.status_code, 201)
        evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", **script}
        answer = self.browser().post("/api/notes", {"text": "x"}, headers=evil)
        self.assertEqual(answer.status_code, 403)


class Attacks(Site):
    def test_every_attack_is_refused(self) -> None:
        factory = TokenFactory.like(MINE)
        tested = factory.settings()
        self.enterContext(self.settings(JWT_MIDDLEWARE=tested))
        # Forged tokens, and what other sites, links and browsers send without their user's will.
        for attack in factory.attacks(tested):
            with self.subTest(attack=str(attack)), self.assertLogs("jwt_middleware", "DEBUG"):
                path = attack.path or "/api/notes"
                answer = visitor().generic(attack.method, path, headers=attack.joined)
                self.assertIn(answer.status_code, attack.statuses)
                self.assertEqual(answer.cookies, {})
