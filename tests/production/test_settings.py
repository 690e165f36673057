"""Production starts with what it needs, or says in one line what is missing."""

import json
import secrets
from pathlib import Path

import pytest

from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import get_network
from tests.production.conftest import REQUIRED
from wallet_service.stack import make_signing_key

SHOW = (
    "-c",
    "import json; from wallet_service import settings as s; "
    "print(json.dumps([s.SECRET_KEY, s.DATABASES['default']['PASSWORD'], s.ALLOWED_HOSTS]))",
)


def fail(run, said, **variables):
    """The start stops with one line that says what is wrong and none of the secrets."""
    done = run(*SHOW, **variables)
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert "canary" not in done.stderr + done.stdout


def test_all_that_is_missing_is_named_at_once(run):
    names = "SECRET_KEY, DATABASE_URL, ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS"
    fail(run, f"The environment variables {names} must be set.")


def test_a_single_one_is_named(run):
    fail(
        run,
        "The environment variable DATABASE_URL must be set.",
        **{**REQUIRED, "DATABASE_URL": ""},
    )


def test_where_coins_are_kept_approvals_have_a_secret_of_their_own(run):
    key = AccountKey.from_seed(bytes(range(64)), get_network("DOGE:main")).public.export()
    fail(
        run,
        "The environment variable CUSTODY_APPROVAL_SECRET must be set.",
        **REQUIRED,
        CUSTODY_XPUBS=f"DOGE:main={key}",
    )


def test_deploy_checks_find_nothing(run):
    done = run(
        "-m",
        "django",
        "check",
        "--deploy",
        "--fail-level",
        "INFO",
        **REQUIRED,
        WALLET_SIGNING_KEYS=make_signing_key(),
        WALLET_EXCHANGE_KEYS=f"k1:{secrets.token_urlsafe(32)}",
    )
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout


def test_browsers_are_told_to_be_careful(run):
    probe = (
        "from wallet_service import settings as s; assert s.SESSION_COOKIE_SECURE and s.CSRF_COOKIE_SECURE; "
        "assert s.SECURE_HSTS_SECONDS >= 31536000 and s.SECURE_SSL_REDIRECT; assert s.WALLET_REQUIRE_MFA; "
        "assert not s.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN and not s.DEBUG"
    )
    assert run("-c", probe, **REQUIRED).returncode == 0


# Where variables come from


def test_secrets_come_from_files(run, tmp_path: Path):
    (tmp_path / "key").write_text(f"{REQUIRED['SECRET_KEY']}\n")
    (tmp_path / "url").write_text(REQUIRED["DATABASE_URL"])
    files = {
        "SECRET_KEY": "",
        "DATABASE_URL": "",
        "SECRET_KEY_FILE": str(tmp_path / "key"),
        "DATABASE_URL_FILE": str(tmp_path / "url"),
    }
    done = run(*SHOW, **{**REQUIRED, **files})
    assert json.loads(done.stdout)[:2] == [REQUIRED["SECRET_KEY"], "canary-database-password"]


def test_a_file_that_is_not_there_stops_the_start(run):
    fail(
        run,
        "SECRET_KEY_FILE cannot be read",
        **{**REQUIRED, "SECRET_KEY": "", "SECRET_KEY_FILE": "/nope"},
    )


def test_secrets_come_from_vault(run, vault):
    vault.secret = {name: REQUIRED[name] for name in ("SECRET_KEY", "DATABASE_URL")}
    rest = {name: REQUIRED[name] for name in ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")}
    done = run(*SHOW, **rest, **vault.variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        REQUIRED["SECRET_KEY"],
        "canary-database-password",
        ["wallets.example.com"],
    ]
    assert vault.paths == ["/v1/secret/data/dj-wallets"]


def test_the_environment_goes_before_vault(run, vault):
    vault.secret = {"ALLOWED_HOSTS": "vault.example.com"}
    done = run(*SHOW, **REQUIRED, **vault.variables)
    assert json.loads(done.stdout)[2] == ["wallets.example.com"]


def test_the_secret_id_comes_from_a_file(run, vault, tmp_path: Path):
    vault.secret = REQUIRED
    (tmp_path / "id").write_text("canary-secret-id\n")
    done = run(
        *SHOW,
        **{**vault.variables, "VAULT_SECRET_ID": "", "VAULT_SECRET_ID_FILE": str(tmp_path / "id")},
    )
    assert done.returncode == 0, done.stderr


def test_a_sealed_vault_stops_the_start(run, vault):
    vault.is_sealed = True
    fail(run, "gives no secret/dj-wallets: VaultDown", **vault.variables)


def test_a_vault_that_refuses_stops_the_start(run, vault):
    fail(
        run,
        "gives no secret/dj-wallets: InvalidRequest",
        **{**vault.variables, "VAULT_SECRET_ID": "canary-wrong"},
    )


def test_a_vault_without_the_secret_stops_the_start(run, vault):
    fail(run, "gives no secret/other: InvalidPath", **vault.variables, VAULT_PATH="other")


def test_a_vault_that_is_away_stops_the_start(run):
    away = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_ROLE_ID": "x", "VAULT_SECRET_ID": "canary"}
    fail(run, "gives no secret/dj-wallets: ConnectionError", **away)


def test_a_vault_that_keeps_no_texts_stops_the_start(run, vault):
    vault.secret = {"SECRET_KEY": {"canary": 1}}
    fail(run, "must hold texts only", **vault.variables)


def test_vault_needs_to_know_who_asks(run):
    fail(
        run, "VAULT_ADDR needs VAULT_ROLE_ID and VAULT_SECRET_ID.", VAULT_ADDR="http://127.0.0.1:1"
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WALLET_REQUIRE_MFA": "perhaps"}, "must be yes or no"),
        ({"WALLET_TRUSTED_PROXIES": "two"}, "must be a whole number"),
        ({"WALLET_EMAIL_URL": "http://mail"}, "WALLET_EMAIL_URL must begin with"),
        ({"WALLET_TRUSTED_ISSUER": "https://sso.example.com"}, "needs WALLET_TRUSTED_ISSUER_JWKS"),
        (
            {
                "WALLET_TRUSTED_ISSUER": "https://wallets.example.com",
                "WALLET_TRUSTED_ISSUER_JWKS": "https://sso.example.com/certs",
            },
            "must be another issuer",
        ),
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_stops_the_start(run, variables, said):
    fail(run, said, **REQUIRED, **variables)
