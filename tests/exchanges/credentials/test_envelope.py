"""Credentials open for their own record, with a key that is there, and not otherwise; keys are changed while all runs."""

import io
import json
import logging
import os
import subprocess
import threading
from base64 import b64decode, b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from dj_wallet.exchanges import checks
from dj_wallet.exchanges.credentials import (
    make_fingerprint,
    open_credentials,
    rewrap_key,
    seal_credentials,
)
from dj_wallet.exchanges.credentials.envelope import Envelope, Sealed
from dj_wallet.exchanges.credentials.providers import make_provider
from dj_wallet.exchanges.errors import KeyUnavailable, SealBroken, VenueError
from dj_wallet.exchanges.models import ExchangeAccount
from dj_wallet.exchanges.services import keys
from dj_wallet.exchanges.services.keys import count_keys, rewrap_all
from dj_wallet.exchanges.venues.contract import Credentials
from tests.exchanges.people import make_key

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
CONTEXT, OTHER = b"account 1", b"account 2"
SECRETS = Credentials("an api key", "a secret", "a passphrase")


def ring(*numbers: int):
    keys = ",".join(f"k{number}:{make_key(number)}" for number in numbers)
    return make_provider("environment", {"WALLET_EXCHANGE_KEYS": keys})


# The envelope


@given(text=st.binary(max_size=200), context=st.binary(max_size=50))
def test_what_was_sealed_opens_for_its_context(text, context):
    envelope = Envelope([ring(1)])
    assert envelope.open(envelope.seal(text, context), context) == text


def test_what_was_sealed_opens_for_no_other_context():
    envelope = Envelope([ring(1)])
    sealed = envelope.seal(b"secret", CONTEXT)
    with pytest.raises(SealBroken):
        envelope.open(sealed, OTHER)


@pytest.mark.parametrize("part", [0, 1])
def test_a_changed_letter_is_noticed(part):
    envelope = Envelope([ring(1)])
    sealed = list(envelope.seal(b"secret", CONTEXT))
    for at in range(len(sealed[part])):
        changed = list(sealed)
        letter = "A" if sealed[part][at] != "A" else "B"
        changed[part] = sealed[part][:at] + letter + sealed[part][at + 1 :]
        # The last letter of base64 may carry bits that mean nothing.
        if at == len(sealed[part]) - 1 or sealed[part][at] == ".":
            continue
        with pytest.raises(VenueError) as refused:
            envelope.open(Sealed(*changed), CONTEXT)
        assert refused.type in {SealBroken, KeyUnavailable}


@pytest.mark.parametrize("text", ["", "v1", "v2.a.b.c", "v1.environment.azE.", "v1....", "a.b.c.d"])
def test_what_is_no_seal_is_refused(text):
    with pytest.raises(VenueError):
        Envelope([ring(1)]).open(Sealed(text, text), CONTEXT)


def test_no_two_seals_are_alike():
    envelope = Envelope([ring(1)])
    seals = {part for _ in range(20) for part in envelope.seal(b"secret", CONTEXT)}
    assert len(seals) == 40


def test_another_key_wraps_the_data_key_and_leaves_the_text():
    old, new = Envelope([ring(1)]), Envelope([ring(2, 1)])
    sealed = old.seal(b"secret", CONTEXT)
    assert (old.needs_rewrap(sealed.key), new.needs_rewrap(sealed.key)) == (False, True)
    again = Sealed(new.rewrap(sealed.key, CONTEXT), sealed.text)
    assert not new.needs_rewrap(again.key)
    assert Envelope([ring(2)]).open(again, CONTEXT) == b"secret"
    with pytest.raises(KeyUnavailable):
        Envelope([ring(2)]).open(sealed, CONTEXT)


def test_a_key_that_is_missing_is_said_and_never_taken_for_empty_credentials():
    sealed = Envelope([ring(1)]).seal(b"secret", CONTEXT)
    with pytest.raises(KeyUnavailable, match="k1"):
        Envelope([ring(2)]).open(sealed, CONTEXT)


@pytest.mark.parametrize(
    "keys",
    ["", "k1", "k1:", "k1:c2hvcnQ=", ":" + make_key(1), f"k1:{make_key(1)},k1:{make_key(2)}", "k1:" + "A" * 43],
)  # fmt: skip
def test_what_is_no_key_ring_is_refused(keys):
    with pytest.raises(KeyUnavailable):
        make_provider("environment", {"WALLET_EXCHANGE_KEYS": keys})


def test_a_provider_that_is_none_or_lacks_its_options_is_refused():
    for name in ("paper", "aws", "vault", "pkcs11"):
        with pytest.raises(KeyUnavailable):
            make_provider(name, {})


@pytest.mark.usefixtures("keys")
def test_manage_py_check_tells_when_nothing_can_be_sealed(settings):
    assert checks.check_keys() == []
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": ""}
    assert [found.id for found in checks.check_keys()] == ["dj_wallet_exchanges.W001"]
    settings.EXCHANGES_PERMISSION_POLICY = "perhaps"
    assert [found.id for found in checks.check_policy()] == ["dj_wallet_exchanges.E001"]


# Fingerprints


def test_a_fingerprint_tells_keys_and_exchanges_apart_and_tells_no_key(settings):
    marks = {
        make_fingerprint("binance", "key", sandbox=False),
        make_fingerprint("binance", "key", sandbox=True),
        make_fingerprint("binance", "other", sandbox=False),
        make_fingerprint("binancekey", "", sandbox=False),
    }
    settings.EXCHANGES_SECRET = "another"
    marks.add(make_fingerprint("binance", "key", sandbox=False))
    assert len(marks) == 5


# Other places for keys


@pytest.fixture
def aws(monkeypatch):
    """A KMS in this process, and two keys of it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("kms", region_name="eu-central-1")
        ids = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
        yield [
            make_provider(
                "aws",
                {"WALLET_EXCHANGE_AWS_KEY": one, "WALLET_EXCHANGE_AWS_REGION": "eu-central-1"},
            )
            for one in ids
        ]


class Transit(BaseHTTPRequestHandler):
    """Vault's transit engine as far as it is needed: aes256-gcm96, versions, associated data."""

    keys = {1: os.urandom(32)}
    token = "s.the-token"

    def log_message(self, *arguments):
        """Be quiet."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        bound, verb = b64decode(body["associated_data"]), self.path.split("/")[3]
        if self.headers["X-Vault-Token"] != self.token:
            self.answer(403, {"errors": ["permission denied"]})
        elif verb == "encrypt":
            nonce, version = os.urandom(12), max(self.keys)
            sealed = AESGCM(self.keys[version]).encrypt(nonce, b64decode(body["plaintext"]), bound)
            text = f"vault:v{version}:{b64encode(nonce + sealed).decode()}"
            self.answer(200, {"data": {"ciphertext": text}})
        else:
            _, version, text = body["ciphertext"].split(":")
            content = b64decode(text)
            try:
                key = AESGCM(self.keys[int(version[1:])])
                plain = key.decrypt(content[:12], content[12:], bound)
                self.answer(200, {"data": {"plaintext": b64encode(plain).decode()}})
            except InvalidTag:
                self.answer(400, {"errors": ["cipher: message authentication failed"]})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def vault():
    """A server that speaks as Vault does, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Transit)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def open_vault(url, token=Transit.token):
    return make_provider(
        "vault",
        {
            "WALLET_EXCHANGE_VAULT_URL": url,
            "WALLET_EXCHANGE_VAULT_TOKEN": token,
            "WALLET_EXCHANGE_VAULT_KEY": "wallet",
        },
    )


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    """A token of SoftHSM with two AES keys that cannot be taken out."""
    if not MODULE.exists():
        pytest.skip("SoftHSM is not installed")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    file = folder / "softhsm2.conf"
    file.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(file)
    make = ["softhsm2-util", "--init-token", "--free", "--label", "wallet", "--pin", "1234"]
    subprocess.run([*make, "--so-pin", "5678"], check=True, capture_output=True)
    import pkcs11

    with (
        pkcs11.lib(str(MODULE))
        .get_token(token_label="wallet")
        .open(user_pin="1234", rw=True) as session
    ):
        for label in ("kek-1", "kek-2"):
            session.generate_key(
                pkcs11.KeyType.AES,
                256,
                label=label,
                store=True,
                template={pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True},
            )
    return "wallet"


def open_module(token, label="kek-1", pin="1234"):
    return make_provider(
        "pkcs11",
        {
            "WALLET_EXCHANGE_PKCS11_MODULE": str(MODULE),
            "WALLET_EXCHANGE_PKCS11_TOKEN": token,
            "WALLET_EXCHANGE_PKCS11_PIN": pin,
            "WALLET_EXCHANGE_PKCS11_KEY": label,
        },
    )


def check_provider(provider):
    """Every provider keeps these."""
    envelope = Envelope([provider, ring(1)])
    moved = Envelope([ring(1)]).seal(b"secret", CONTEXT)
    sealed = Sealed(envelope.rewrap(moved.key, CONTEXT), moved.text)  # from the environment to here
    assert envelope.open(sealed, CONTEXT) == b"secret"
    assert not envelope.needs_rewrap(sealed.key)
    with pytest.raises(SealBroken):
        envelope.open(sealed, OTHER)
    back = Envelope([ring(1), provider])  # and back again
    assert Envelope([ring(1)]).open(Sealed(back.rewrap(sealed.key, CONTEXT), sealed.text), CONTEXT)
    with pytest.raises(KeyUnavailable):
        Envelope([ring(1)]).open(sealed, CONTEXT)


def test_keys_may_live_in_aws_kms(aws):
    check_provider(aws[0])


def test_a_key_of_kms_can_take_the_place_of_another(aws):
    sealed = Envelope([aws[0]]).seal(b"secret", CONTEXT)
    assert Envelope([aws[1]]).needs_rewrap(sealed.key)
    again = Envelope([aws[1]]).rewrap(sealed.key, CONTEXT)
    assert Envelope([aws[1]]).open(Sealed(again, sealed.text), CONTEXT) == b"secret"


def test_a_kms_that_does_not_answer_is_no_broken_seal(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    options = {"WALLET_EXCHANGE_AWS_KEY": "k", "WALLET_EXCHANGE_AWS_REGION": "eu-central-1"}
    with pytest.raises(KeyUnavailable):
        Envelope([make_provider("aws", options)]).seal(b"secret", CONTEXT)


def test_keys_may_live_in_vault(vault):
    check_provider(open_vault(vault))


def test_a_rotated_key_of_vault_opens_what_its_older_version_wrapped(vault):
    sealed = Envelope([open_vault(vault)]).seal(b"secret", CONTEXT)
    Transit.keys[2] = os.urandom(32)
    try:
        assert Envelope([open_vault(vault)]).open(sealed, CONTEXT) == b"secret"
    finally:
        del Transit.keys[2]


def test_a_vault_that_refuses_or_is_away_is_no_broken_seal(vault):
    sealed = Envelope([open_vault(vault)]).seal(b"secret", CONTEXT)
    for provider in (open_vault(vault, "s.wrong"), open_vault("http://127.0.0.1:9")):
        with pytest.raises(KeyUnavailable):
            Envelope([provider]).open(sealed, CONTEXT)


def test_keys_may_live_in_a_hardware_module(token):
    check_provider(open_module(token))


def test_many_threads_use_a_module_at_once(token):
    envelope = Envelope([open_module(token)])
    sealed = envelope.seal(b"secret", CONTEXT)
    opened = []

    def work():
        opened.extend(envelope.open(sealed, CONTEXT) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [b"secret"] * 160


def test_a_module_without_the_key_or_the_token_says_so(token):
    with pytest.raises(KeyUnavailable):
        Envelope([open_module(token, "kek-3")]).seal(b"secret", CONTEXT)
    with pytest.raises(KeyUnavailable):
        Envelope([open_module("elsewhere")]).seal(b"secret", CONTEXT)


# Rows


@pytest.fixture
def accounts(request, alice, bob):
    """Two accounts with credentials, without an exchange being asked."""
    request.getfixturevalue("keys")
    made = []
    for user in (alice, bob):
        account = ExchangeAccount(
            user=user, exchange_id="binance", account_name="main", fingerprint=user.username
        )
        account.sealed_key, account.sealed_credentials = seal_credentials(account, SECRETS)
        account.save()
        made.append(account)
    return made


def test_all_are_wrapped_anew_while_their_texts_stay(accounts, settings):
    rows = ExchangeAccount.objects.order_by("pk")  # which updates would change
    texts = list(rows.values_list("sealed_credentials", flat=True))
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"k2:{make_key(2)},k1:{make_key(1)}"}
    assert rewrap_all() == (2, {})
    assert rewrap_all() == (0, {})
    assert count_keys() == {"environment k2": 2}
    assert list(rows.values_list("sealed_credentials", flat=True)) == texts
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"k2:{make_key(2)}"}
    for account in ExchangeAccount.objects.all():
        assert open_credentials(account) == SECRETS


def test_the_command_shows_wraps_and_makes_keys(accounts, settings):
    def run(verb):
        shown = io.StringIO()
        call_command("exchange_keys", verb, stdout=shown)
        return shown.getvalue().split("\n")[:-1]

    assert run("status") == ["environment k1: 2"]
    made = run("make")[0]
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"new:{made},k1:{make_key(1)}"}
    assert run("rewrap") == ["2 wrapped by today's key", "environment new: 2"]
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"k3:{make_key(3)}"}
    with pytest.raises(CommandError):
        run("rewrap")
    assert run("status") == ["environment new: 2"]


def test_a_key_that_is_changed_meanwhile_is_not_overwritten(accounts, settings):
    account = accounts[0]
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"k2:{make_key(2)},k1:{make_key(1)}"}
    sealed = seal_credentials(account, Credentials("newer", "newer"))
    rows = ExchangeAccount.objects.filter(pk=account.pk)
    rows.update(sealed_key=sealed.key, sealed_credentials=sealed.text)
    # The row as it was read before the change, wrapped anew after it.
    assert keys._swap(account, rewrap_key(account)) == 0
    account.refresh_from_db()
    assert open_credentials(account).api_key == "newer"


def test_a_row_that_is_given_to_another_user_does_not_open(accounts):
    account, other = accounts
    account.user_id = other.user_id
    with pytest.raises(SealBroken):
        open_credentials(account)


def test_what_is_logged_of_a_failure_holds_no_secret(accounts, settings, caplog):
    caplog.set_level(logging.DEBUG)
    settings.EXCHANGES_KEY_OPTIONS = {"WALLET_EXCHANGE_KEYS": f"k9:{make_key(9)}"}
    with pytest.raises(KeyUnavailable) as failed:
        open_credentials(accounts[0])
    for text in (caplog.text, str(failed.value), repr(failed.value), repr(SECRETS)):
        assert SECRETS.api_secret not in text
        assert make_key(9) not in text
