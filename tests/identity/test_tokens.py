"""Access tokens: which are believed, and which not. Ours come from the issuer's own paths."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from allauth.idp.oidc.models import Client as OAuthClient
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings as django_settings
from django.core.cache import cache
from django.test import Client

from dj_wallet.identity import tokens
from dj_wallet.identity.errors import IssuerUnavailable, TokenInvalid
from dj_wallet.identity.kept import find_owner
from dj_wallet.identity.models import AuditEvent, ExternalIdentity, User
from dj_wallet.identity.tokens import FetchedKeys, get_issuers, link_user, verify_token
from tests.identity.conftest import Browser
from tests.rest.api import Api
from wallet_service.stack import make_signing_key

TOKEN_PATH = "/identity/o/api/token"
REDIRECT = "https://shop.example/back"
VERIFIER = "v" * 64
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)


@pytest.fixture
def snapshot_wallets(alice, snapshot):
    alice.deposit(10)
    return snapshot


def make_client(
    owner: User | None, *grants: str, public: bool = False, scopes: str = ""
) -> tuple[OAuthClient, str]:
    client = OAuthClient(
        name="shop",
        owner=owner,
        scopes="\n".join(["openid", *scopes.split()]),
        grant_types="\n".join(grants),
        redirect_uris=REDIRECT,
        type=OAuthClient.Type.PUBLIC if public else OAuthClient.Type.CONFIDENTIAL,
    )
    client.set_secret("client secret")
    client.save()
    return client, "client secret"


def fetch(path: str = TOKEN_PATH, **fields: str) -> Any:
    form = "application/x-www-form-urlencoded"
    return Client().post(path, urlencode(fields), content_type=form)


def fetch_service_token(owner: User, scopes: str) -> str:
    client, secret = make_client(owner, "client_credentials", scopes=scopes)
    answer = fetch(
        grant_type="client_credentials", client_id=client.id, client_secret=secret, scope=scopes
    )
    assert answer.status_code == 200, answer.content
    return str(answer.json()["access_token"])


def authorize(browser: Browser, client: OAuthClient, scope: str, **more: str) -> Any:
    """Walk through sign-in and consent; return what the program gets back."""
    asked = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": REDIRECT,
        "scope": scope,
        "state": "s",
        **more,
    }
    page = browser.get("/identity/o/authorize", data=asked)
    if not page.context or "form" not in page.context:
        return page
    form = page.context["form"]
    fields = {"request": form.initial["request"], "scopes": scope.split(), "action": "grant"}
    return browser.post("/identity/o/authorize", fields)


def fetch_persons_tokens(browser: Browser, client: OAuthClient, scope: str) -> dict[str, Any]:
    browser.sign_in()
    proof = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    back = authorize(browser, client, scope, **proof)["Location"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    answer = fetch(
        grant_type="authorization_code",
        client_id=client.id,
        code=code,
        redirect_uri=REDIRECT,
        code_verifier=VERIFIER,
    )
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


# What our issuer gives


def test_it_says_where_everything_is(db):
    found = Client().get("/.well-known/openid-configuration").json()
    assert found["issuer"] == django_settings.WALLET_ISSUER
    keys = Client().get("/.well-known/jwks.json").json()["keys"]
    assert len(keys) == 2
    assert all({"kid", "n", "e"} <= set(key) and "d" not in key for key in keys)


def test_a_program_gets_a_token_for_us_and_acts_for_its_owner(alice):
    wallet = alice.get_wallet()
    token = fetch_service_token(alice, "wallets:read")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["aud"], claims["iss"]) == ("dj-wallets", django_settings.WALLET_ISSUER)
    assert claims["exp"] - claims["iat"] == 600
    api = Api(token)
    assert [one["uuid"] for one in api.get("/wallets/").body["results"]] == [str(wallet.uuid)]
    answer = api.post("/wallets/")
    assert (answer.status, answer.code) == (403, "scope_missing")


def test_a_token_costs_one_query(alice, django_assert_num_queries):
    client, _ = make_client(None, "authorization_code", public=True, scopes="wallets:read")
    text = fetch_persons_tokens(Browser(alice), client, "openid wallets:read")["access_token"]
    with django_assert_num_queries(1):
        grant = tokens.read_token(text)
        user, credential = tokens.accept_grant(grant, find_owner(grant.owner))
    assert (user, credential.scopes) == (alice, {"wallets:read"})


def test_a_client_of_nobody_gets_nowhere(db):
    token = fetch_service_token(
        User.objects.create(username="gone", is_active=False), "wallets:read"
    )
    assert Api(token).get("/wallets/").code == "token_invalid"
    token = fetch_service_token(None, "wallets:read")
    assert Api(token).get("/wallets/").code == "token_invalid"


def test_a_client_gets_no_scope_that_it_was_not_given(alice):
    client, secret = make_client(alice, "client_credentials", scopes="wallets:read")
    answer = fetch(
        grant_type="client_credentials",
        client_id=client.id,
        client_secret=secret,
        scope="wallets:read internal",
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_scope"


def test_a_wrong_client_secret_gets_nothing(alice):
    client, _ = make_client(alice, "client_credentials", scopes="wallets:read")
    answer = fetch(grant_type="client_credentials", client_id=client.id, client_secret="guess")
    assert answer.status_code == 401


def test_a_person_consents_and_the_program_acts_for_them(alice, browser):
    client, _ = make_client(
        None, "authorization_code", "refresh_token", public=True, scopes="wallets:read"
    )
    got = fetch_persons_tokens(browser, client, "openid wallets:read")
    assert Api(got["access_token"]).get("/wallets/").status == 200
    identity = jwt.decode(got["id_token"], options={"verify_signature": False})
    assert (
        identity["sub"]
        == jwt.decode(got["access_token"], options={"verify_signature": False})["sub"]
    )


def test_an_identity_token_opens_nothing(alice, browser):
    client, _ = make_client(None, "authorization_code", public=True, scopes="wallets:read")
    got = fetch_persons_tokens(browser, client, "openid wallets:read")
    assert Api(got["id_token"]).get("/wallets/").code == "token_invalid"


def test_a_refresh_token_works_once(alice, browser):
    client, _ = make_client(
        None, "authorization_code", "refresh_token", public=True, scopes="wallets:read"
    )
    first = fetch_persons_tokens(browser, client, "openid wallets:read")["refresh_token"]
    again = {"grant_type": "refresh_token", "client_id": client.id, "refresh_token": first}
    second = fetch(**again)
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first
    assert fetch(**again).status_code == 400


def test_a_public_program_must_prove_that_the_code_is_its_own(alice, browser):
    client, _ = make_client(None, "authorization_code", public=True, scopes="wallets:read")
    browser.sign_in()
    refused = authorize(browser, client, "openid")
    assert (
        "code+challenge+required" in refused["Location"].lower() or "error=" in refused["Location"]
    )
    assert "code=" not in refused["Location"].replace("code_challenge", "")
    back = authorize(
        browser, client, "openid", code_challenge=CHALLENGE, code_challenge_method="S256"
    )
    code = parse_qs(urlsplit(back["Location"]).query)["code"][0]
    stolen = fetch(
        grant_type="authorization_code",
        client_id=client.id,
        code=code,
        redirect_uri=REDIRECT,
        code_verifier="w" * 64,
    )
    assert stolen.status_code == 400


def test_a_redirect_that_was_not_registered_is_refused(alice, browser):
    client, _ = make_client(None, "authorization_code", public=True)
    browser.sign_in()
    page = authorize(browser, client, "openid", redirect_uri="https://evil.example/")
    assert "Mismatching redirect URI" in page.content.decode()
    assert "code=" not in page.headers.get("Location", "")


@pytest.mark.parametrize(
    "resource", ["x", "http://evil.example/", "http://127.0.0.1:8000.evil.example/"]
)
def test_a_token_for_somebody_else_is_not_given(alice, resource):
    client, secret = make_client(alice, "client_credentials", scopes="wallets:read")
    asked = {"grant_type": "client_credentials", "client_id": client.id, "client_secret": secret}
    answer = fetch(**asked, resource=resource)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_target"})


def test_a_device_signs_in_by_a_code_that_a_person_types(alice, browser):
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    client, _ = make_client(None, grant, public=True, scopes="wallets:read")
    begun = fetch("/identity/o/api/device/code", client_id=client.id, scope="wallets:read").json()
    poll = {"grant_type": grant, "client_id": client.id, "device_code": begun["device_code"]}
    assert fetch(**poll).json()["error"] == "authorization_pending"
    assert fetch(**poll).json()["error"] == "slow_down"
    browser.sign_in()
    confirm = f"/identity/o/device?code={begun['user_code']}"
    assert "shop" in browser.get(confirm).content.decode()
    browser.post(confirm, {"action": "confirm"})
    pass_time(begun["device_code"], begun["interval"])
    answer = fetch(**poll)
    assert Api(answer.json()["access_token"]).get("/wallets/").status == 200
    assert fetch(**poll).status_code == 400


def pass_time(device_code: str, seconds: int) -> None:
    """Let the last question of the device be so much older."""
    name = f"allauth.idp.oidc.device_code[{device_code}]"
    asked = cache.get(name)
    cache.set(name, {**asked, "last_poll_at": asked["last_poll_at"] - seconds - 1})


def test_in_production_staff_give_no_token_without_a_second_factor(operators_browser, settings):
    settings.WALLET_REQUIRE_MFA = True
    client, _ = make_client(None, "authorization_code", public=True, scopes="wallets:read")
    client.skip_consent = True
    client.save()
    operators_browser.sign_in()
    proof = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    answer = authorize(operators_browser, client, "wallets:read", **proof)
    assert answer["Location"].startswith("/accounts/2fa/?next=%2Fidentity%2Fo%2Fauthorize")
    assert operators_browser.post("/identity/o/device?code=x").status_code == 302
    operators_browser.client.logout()
    operators_browser.set_up_second_factor()
    operators_browser.sign_in_fully()
    answer = authorize(operators_browser, client, "wallets:read", **proof)
    assert answer["Location"].startswith(f"{REDIRECT}?")
    assert "code=" in answer["Location"]


# People and services


def test_a_persons_token_is_no_services(alice, browser, internal_view):
    client, _ = make_client(None, "authorization_code", public=True, scopes="wallets:read internal")
    got = fetch_persons_tokens(browser, client, "openid internal")
    assert (
        "internal"
        not in jwt.decode(got["access_token"], options={"verify_signature": False})["scope"]
    )
    assert internal_view(got["access_token"]) == (403, "internal_only")


def test_a_services_token_opens_internal_paths_if_it_has_the_scope(alice, internal_view):
    assert internal_view(fetch_service_token(alice, "internal")) == (200, None)
    assert internal_view(fetch_service_token(alice, "internal:holds")) == (200, None)
    assert internal_view(fetch_service_token(alice, "internal:wallets")) == (403, "scope_missing")
    assert internal_view(fetch_service_token(alice, "holds:write")) == (403, "scope_missing")


@pytest.fixture
def internal_view(settings):
    """A function that asks a view for services and returns status and code."""
    settings.ROOT_URLCONF = "tests.identity.internal_urls"

    def ask(token: str) -> tuple[int, str | None]:
        answer = Client().get("/internal", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json().get("error", {}).get("code")

    return ask


# Ours, forged


def sign_own(pem: str, **claims: Any) -> str:
    now = int(time.time())
    body = {
        "iss": django_settings.WALLET_ISSUER,
        "aud": "dj-wallets",
        "client_id": "shop",
        "iat": now,
        "exp": now + 60,
        "token_use": "access",
        "scope": "wallets:read wallets:write",
        **claims,
    }
    given = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(given, pem, algorithm="RS256", headers={"kid": tokens.get_key_id(pem)})


@pytest.fixture
def pem(settings) -> str:
    return str(settings.WALLET_SIGNING_KEYS[0])


def refuse(text: str, caplog: Any, snapshot: Any) -> None:
    """The token opens nothing, says so, and is in the log without its text."""
    before = snapshot()
    api = Api(text)
    answer = api.post("/wallets/")
    assert (answer.status, answer.code) == (401, "token_invalid")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert snapshot() == before
    assert "Refused a token from 127.0.0.1" in caplog.text
    assert text not in caplog.text


def test_a_good_token_of_ours_is_believed(alice, pem):
    assert Api(sign_own(pem, sub=str(alice.pk))).get("/wallets/").status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "somebody-else"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 3600},
        {"iat": None},
        {"token_use": "id"},
        {"token_use": None},
        {"sub": None},
        {"sub": "no-uuid"},
        {"sub": "00000000-0000-0000-0000-000000000000"},
        {"sub": "shop"},
    ],
)
def test_a_token_that_says_something_wrong_is_refused(alice, pem, caplog, snapshot_wallets, claims):
    refuse(sign_own(pem, **{"sub": str(alice.pk), **claims}), caplog, snapshot_wallets)


def test_a_little_late_is_in_time(alice, pem):
    assert (
        Api(sign_own(pem, sub=str(alice.pk), exp=int(time.time()) - 5)).get("/wallets/").status
        == 200
    )


def test_the_token_of_a_disabled_user_is_refused(alice, pem, caplog, snapshot_wallets):
    User.objects.filter(pk=alice.pk).update(is_active=False)
    refuse(sign_own(pem, sub=str(alice.pk)), caplog, snapshot_wallets)


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forge(text: str, header: dict[str, Any], sign: Any) -> str:
    head, body, _ = text.split(".")
    old = json.loads(base64.urlsafe_b64decode(head + "=="))
    start = f"{encode({**old, **header})}.{body}"
    return f"{start}.{sign(start.encode())}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_a_token_without_a_signature_is_refused(alice, pem, caplog, snapshot_wallets, algorithm):
    good = sign_own(pem, sub=str(alice.pk))
    refuse(forge(good, {"alg": algorithm}, lambda start: ""), caplog, snapshot_wallets)


def test_our_public_key_is_no_shared_secret(alice, pem, caplog, snapshot_wallets):
    _, public = tokens._load_public(pem)
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(start: bytes) -> str:
        return base64.urlsafe_b64encode(hmac.digest(text, start, "sha256")).rstrip(b"=").decode()

    good = sign_own(pem, sub=str(alice.pk))
    refuse(forge(good, {"alg": "HS256"}, sign), caplog, snapshot_wallets)


def test_an_unknown_key_signs_nothing(alice, caplog, snapshot_wallets):
    refuse(sign_own(make_signing_key(), sub=str(alice.pk)), caplog, snapshot_wallets)


def test_a_tampered_token_is_refused(alice, pem, caplog, snapshot_wallets):
    head, _, signature = sign_own(pem, sub="x").split(".")
    body = encode(
        {**jwt.decode(sign_own(pem, sub=str(alice.pk)), options={"verify_signature": False})}
    )
    refuse(f"{head}.{body}.{signature}", caplog, snapshot_wallets)


@pytest.mark.parametrize(
    "text", ["e", "a.b", "a.b.c", "....", "eyJ" + "a" * 9000, "\u00e9.\u00e9.\u00e9"]
)
def test_what_is_no_token_is_refused(db, text):
    assert Api(text).get("/wallets/").code == "token_invalid"


# Rotation


def test_the_first_key_signs_and_all_are_believed(alice, settings):
    old, new = make_signing_key(), make_signing_key()
    settings.IDP_OIDC_PRIVATE_KEYS = [{"pem": old}]
    before = fetch_service_token(alice, "wallets:read")
    settings.IDP_OIDC_PRIVATE_KEYS = [{"pem": new}, {"pem": old}]
    after = fetch_service_token(alice, "wallets:read")
    kids = [jwt.get_unverified_header(text)["kid"] for text in (before, after)]
    assert kids == [tokens.get_key_id(old), tokens.get_key_id(new)]
    assert [Api(text).get("/wallets/").status for text in (before, after)] == [200, 200]
    settings.IDP_OIDC_PRIVATE_KEYS = [{"pem": new}]
    assert [Api(text).get("/wallets/").status for text in (before, after)] == [401, 200]


# Another issuer


def test_a_linked_subject_of_another_issuer_is_our_user(alice, issuer):
    link_user(user=alice, issuer=issuer.name, subject="f:1:somebody")
    wallet = alice.get_wallet()
    assert Api(issuer.sign()).get(f"/wallets/{wallet.uuid}/").status == 200
    assert AuditEvent.objects.get().event == "user_linked"


def test_a_stranger_of_another_issuer_is_nobody_here(db, issuer):
    assert Api(issuer.sign()).get("/wallets/").code == "token_invalid"
    assert not User.objects.exists()


def test_a_stranger_becomes_a_user_if_the_settings_say_so(db, issuer, settings):
    settings.WALLET_TRUSTED_ISSUER_CREATES_USERS = True
    assert Api(issuer.sign()).get("/wallets/").status == 200
    assert Api(issuer.sign()).get("/wallets/").status == 200
    identity = ExternalIdentity.objects.get()
    assert (identity.subject, User.objects.get()) == ("f:1:somebody", identity.user)
    assert not identity.user.has_usable_password()


def test_a_name_of_ours_is_not_taken_by_a_subject_called_so(alice, issuer, settings):
    settings.WALLET_TRUSTED_ISSUER_CREATES_USERS = True
    Api(issuer.sign(sub=str(alice.pk), preferred_username="alice")).get("/wallets/")
    assert ExternalIdentity.objects.get().user != alice


@pytest.mark.parametrize("typ", ["ID", "Refresh", "Offline", "Logout"])
def test_another_issuers_other_tokens_open_nothing(alice, issuer, typ):
    link_user(user=alice, issuer=issuer.name, subject="f:1:somebody")
    assert Api(issuer.sign(typ=typ)).get("/wallets/").code == "token_invalid"


@pytest.mark.parametrize(
    "claims",
    [{"aud": "account"}, {"exp": 1}, {"iss": "http://127.0.0.1:1/realms/test"}, {"sub": None}],
)
def test_another_issuers_wrong_tokens_open_nothing(alice, issuer, claims):
    link_user(user=alice, issuer=issuer.name, subject="f:1:somebody")
    assert Api(issuer.sign(**claims)).get("/wallets/").code == "token_invalid"


def test_another_issuer_speaks_for_its_own_users_only(alice, issuer):
    text = issuer.sign(
        iss=django_settings.WALLET_ISSUER, sub=str(alice.pk), token_use="access", aud="dj-wallets"
    )
    assert Api(text).get("/wallets/").code == "token_invalid"


def test_only_named_clients_of_another_issuer_are_services(alice, issuer, settings, internal_view):
    link_user(user=alice, issuer=issuer.name, subject="f:1:somebody")
    assert internal_view(issuer.sign(scope="internal")) == (403, "internal_only")
    settings.WALLET_TRUSTED_ISSUER_SERVICES = ["shop"]
    assert internal_view(issuer.sign(scope="internal")) == (200, None)
    assert internal_view(issuer.sign(scope="internal", azp="other")) == (403, "internal_only")


# Its keys


def verify(issuer: Any, keys: FetchedKeys, **claims: Any) -> Any:
    made = tokens.Issuer(issuer.name, "dj-wallets", tokens.EXTERNAL_ALGORITHMS, keys)
    return verify_token(issuer.sign(**claims), {issuer.name: made})[1]


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer, clock) -> FetchedKeys:
    return FetchedKeys(issuer.jwks, clock)


def test_keys_are_fetched_once(issuer, keys):
    for _ in range(5):
        assert verify(issuer, keys)["sub"] == "f:1:somebody"
    assert issuer.asked == 1


def test_a_rotated_key_is_found(issuer, keys, clock):
    verify(issuer, keys)
    issuer.rotate("second", elliptic=True)
    clock.now += tokens.REFETCH_SECONDS
    made = tokens.Issuer(issuer.name, "dj-wallets", tokens.EXTERNAL_ALGORITHMS, keys)
    assert verify_token(issuer.sign(algorithm="ES256"), {issuer.name: made})
    assert issuer.asked == 2


def test_made_up_keys_cost_the_issuer_one_request_in_a_while(issuer, keys, clock):
    for number in range(20):
        with pytest.raises(TokenInvalid):
            verify(issuer, keys, kid=f"made up {number}")
    assert issuer.asked == 1
    clock.now += tokens.REFETCH_SECONDS
    with pytest.raises(TokenInvalid):
        verify(issuer, keys, kid="made up")
    assert issuer.asked == 2


def test_a_withdrawn_key_ends_within_the_hour(issuer, keys, clock):
    verify(issuer, keys)
    old = issuer.sign()
    del issuer.keys["first"]
    issuer.rotate("second")
    clock.now += tokens.FRESH_SECONDS
    made = {issuer.name: tokens.Issuer(issuer.name, "dj-wallets", ("RS256",), keys)}
    with pytest.raises(TokenInvalid):
        verify_token(old, made)


def test_known_keys_outlive_an_outage_but_not_for_ever(issuer, keys, clock):
    verify(issuer, keys)
    issuer.status = 500
    clock.now += tokens.FRESH_SECONDS + 1
    assert verify(issuer, keys)
    clock.now += tokens.STALE_SECONDS
    with pytest.raises(IssuerUnavailable):
        verify(issuer, keys)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": {}}', b"<html>", b"x" * 300_000])
def test_an_issuer_that_answers_nonsense_is_away(db, issuer, body):
    issuer.body = body
    answer = Api(issuer.sign()).get("/wallets/")
    assert (answer.status, answer.code) == (503, "issuer_unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_keys_that_we_cannot_use_are_left_out(issuer, keys):
    good = json.loads(issuer.publish())["keys"]
    shared = {"kty": "oct", "kid": "first", "k": "c2VjcmV0"}
    broken = {"kty": "RSA", "kid": "broken", "n": "?", "e": "AQAB"}
    issuer.body = json.dumps(
        {"keys": [*good, broken, 3, {"kty": "RSA"}, {**shared, "kid": "shared"}]}
    ).encode()
    assert verify(issuer, keys)
    assert keys.find("shared") is None


def test_issuers_are_told_apart_by_their_whole_name(issuer):
    assert set(get_issuers()) == {django_settings.WALLET_ISSUER, issuer.name}
    with pytest.raises(TokenInvalid):
        verify_token(issuer.sign(iss=issuer.name + "/"), get_issuers())
