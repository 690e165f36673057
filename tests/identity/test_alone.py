"""Identity as a service of its own."""

from django.test import Client

from dj_wallet.identity.services import create_api_key


def test_identity_runs_alone(alice, settings):
    settings.ROOT_URLCONF = "wallet_service.identity_urls"
    _, text = create_api_key(user=alice, name="x")
    headers = {"Authorization": f"Bearer {text}"}
    statuses = {
        path: Client().get(path, headers=headers).status_code
        for path in (
            "/accounts/login/",
            "/.well-known/jwks.json",
            "/api/v1/api-keys",
            "/healthz",
            "/wallets/",
            "/api/v1/transfers",
        )
    }
    assert list(statuses.values()) == [200, 200, 200, 200, 404, 404]
