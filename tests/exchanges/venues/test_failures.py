"""What a failure of CCXT becomes: the precedence of the rules, waits, and words without secrets."""

import time
from email.utils import formatdate

import ccxt.async_support as ccxt
import pytest

from dj_wallet.exchanges.venues import errors
from dj_wallet.exchanges.venues.contract import Credentials
from dj_wallet.exchanges.venues.failures import (
    MESSAGES,
    RULES,
    read_failure,
    read_retry_after,
    scrub,
)


def leaves(kind: type[errors.VenueError]) -> set[type[errors.VenueError]]:
    return {leaf for child in kind.__subclasses__() for leaf in ({child} | leaves(child))}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ccxt.ExchangeError("okx {'code': 'x'}"), 429, "RATE_LIMITED"),
        (ccxt.DDoSProtection("slow down"), 418, "RATE_LIMITED"),
        (ccxt.OnMaintenance("kraken"), 200, "EXCHANGE_MAINTENANCE"),
        (ccxt.ExchangeNotAvailable("binance 451"), 451, "RESTRICTED_LOCATION"),
        (ccxt.PermissionDenied('kucoin {"code":"400006"}'), 401, "IP_NOT_ALLOWED"),
        (ccxt.PermissionDenied('okx {"code":"50110"}'), 401, "IP_NOT_ALLOWED"),
        (ccxt.PermissionDenied('bybit {"retCode":10010,"retMsg":"Unmatched IP"}'), 200, "IP_NOT_ALLOWED"),
        (ccxt.AuthenticationError('binance {"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}'), 401, "INVALID_CREDENTIALS"),
        (ccxt.AccountSuspended("x"), 403, "ACCOUNT_SUSPENDED"),
        (ccxt.PermissionDenied("kraken EGeneral:Permission denied"), 200, "PERMISSION_DENIED"),
        (ccxt.InvalidNonce("binance Timestamp for this request is outside of the recvWindow."), 400, "CLOCK_SKEW"),
        (ccxt.InvalidNonce("kraken EAPI:Invalid nonce"), 200, "NONCE_CONFLICT"),
        (ccxt.ExchangeError("bitfinex nonce: small (#10114)"), 500, "NONCE_CONFLICT"),
        (ccxt.ExchangeError('kraken {"error":["EAPI:Invalid signature"]}'), 200, "INVALID_CREDENTIALS"),
        (ccxt.AddressPending("x"), 200, "ADDRESS_PENDING"),
        (ccxt.ExchangeError("kraken EFunding:Too many addresses"), 200, "ADDRESS_LIMIT_REACHED"),
        (ccxt.InvalidAddress("x"), 200, "ADDRESS_NOT_AVAILABLE"),
        (ccxt.ExchangeError('binance {"code":-4018,"msg":"x"}'), 400, "UNSUPPORTED_NETWORK"),
        (ccxt.BadRequest("kraken EQuery:Unknown asset"), 200, "UNSUPPORTED_CURRENCY"),
        (ccxt.BadSymbol("x"), 200, "UNSUPPORTED_CURRENCY"),
        (ccxt.NotSupported("x"), None, "EXCHANGE_NOT_SUPPORTED"),
        (ccxt.RequestTimeout("x"), None, "EXCHANGE_TIMEOUT"),
        (ccxt.ExchangeNotAvailable("403 <html>"), 403, "EXCHANGE_BLOCKED"),
        (ccxt.ExchangeNotAvailable("404 <html>"), 404, "EXCHANGE_API_ERROR"),
        (ccxt.ExchangeNotAvailable("503 under maintenance"), 503, "EXCHANGE_MAINTENANCE"),
        (ccxt.ExchangeNotAvailable("502 <html>"), 502, "EXCHANGE_UNAVAILABLE"),
        (ccxt.ExchangeNotAvailable("okx GET"), None, "NETWORK_ERROR"),
        (ccxt.NetworkError("x"), None, "NETWORK_ERROR"),
        (ccxt.BadResponse("x"), 200, "EXCHANGE_BAD_RESPONSE"),
        (ccxt.ArgumentsRequired("x"), None, "NETWORK_REQUIRED"),
        (ccxt.ExchangeError("something new"), 200, "EXCHANGE_API_ERROR"),
        (ConnectionResetError("x"), None, "EXCHANGE_API_ERROR"),
    ],
)  # fmt: skip
def test_a_failure_gets_the_code_of_the_first_rule(error, status, code):
    assert read_failure(error, venue="binance", status=status).code == code


def test_an_untrusted_certificate_is_no_outage():
    kind = type("ClientConnectorCertificateError", (OSError,), {})
    error = ccxt.ExchangeNotAvailable("okx GET")
    error.__cause__ = kind()
    failure = read_failure(error, venue="okx")
    assert (failure.code, failure.retryable, failure.is_outage) == ("TLS_ERROR", False, False)


def test_every_kind_a_rule_names_has_its_sentence():
    assert {kind for _, kind, _ in RULES} == set(MESSAGES)


def test_codes_are_in_capitals_and_no_two_kinds_share_one():
    ours = {kind for kind in leaves(errors.VenueError) if kind.__module__ == errors.__name__}
    codes = [kind.code for kind in ours]
    assert len(codes) == len(set(codes))
    assert all(code == code.upper() for code in codes)


@pytest.mark.parametrize("kind", [errors.InvalidCredentials, errors.TLSInvalid, errors.AddressInvalid, errors.OutcomeUnknown])  # fmt: skip
def test_what_no_repetition_mends_is_not_retryable(kind):
    assert not kind("x").retryable


def test_the_venue_says_how_long_to_wait():
    assert read_retry_after({"Retry-After": "7"}) == 7
    assert read_retry_after({"retry-after": "0.5"}) == 0.5
    assert read_retry_after({"Retry-After": "999999999"}) == 86_400
    date = formatdate(time.time() + 60, usegmt=True)
    assert 55 < read_retry_after({"Retry-After": date}) <= 60
    assert read_retry_after({"Retry-After": "soon"}) is None
    reset = str(int(time.time() * 1000) + 2_000)
    limited = {"X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": reset}
    assert 0 < read_retry_after(limited) <= 2
    assert read_retry_after({**limited, "X-Bapi-Limit-Status": "3"}) is None
    assert read_retry_after({"gw-ratelimit-remaining": "0", "gw-ratelimit-reset": "1500"}) == 1.5
    assert read_retry_after({}) is None


def test_a_wait_that_the_venue_names_comes_before_ours():
    limited = ccxt.RateLimitExceeded("x")
    assert read_failure(limited, venue="okx", status=429).retry_after == 60
    headers = {"Retry-After": "3"}
    assert read_failure(limited, venue="okx", status=429, headers=headers).retry_after == 3


def test_the_words_of_a_venue_are_kept_without_secrets():
    text = (
        "binance GET https://api.binance.com/sapi/x?timestamp=1&signature=abcdef 502 \x00<html>"
        + "x" * 2000
    )
    kept = scrub(text)
    assert kept.startswith("binance GET https://api.binance.com/sapi/x?*** 502 <html>")
    assert len(kept) <= 500
    assert scrub("key KEY12345 secret s3cr3t!", ("KEY12345", "s3cr3t!", "")) == "key *** secret ***"
    assert scrub("error sign! origin_string[1700KEY12345]") == "error sign! ***"
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n"
    assert "MHcCAQEE" not in scrub(f"cannot sign with {pem}", (pem,))
    assert "MHcCAQEE" not in scrub("cannot sign with MHcCAQEE", (pem,))


def test_credentials_do_not_show_themselves():
    credentials = Credentials("a-key-of-length", "canary-secret", "canary-words")
    shown = f"{credentials} {credentials!r}"
    assert not any(part in shown for part in ("a-key", "canary"))
    assert credentials.hint == "ngth"
    assert Credentials("short", "x").hint == ""


def test_details_hold_what_is_known_and_nothing_else():
    error = errors.RateLimited("x", venue="okx", currency="BTC", retry_after=1.23456)
    assert error.details == {"exchange": "okx", "currency": "BTC", "retry_after": 1.235}
    assert errors.VenueError("x").details == {}
