"""/api/v1/payouts: schedule, look, cancel, upload; messages of banks; plans."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from dj_wallet.payouts.models import Payout, RecurringPayout
from dj_wallet.payouts.services import execute_payout, schedule_payout
from tests.payouts.conftest import (
    keyed_bank,
    payouts_setting,
    sandbox,
    session_bank,
    short_waits,
)

__all__ = ["keyed_bank", "payouts_setting", "sandbox", "session_bank", "short_waits"]

PAYEE = {"name": "Bob", "iban": "GB82 WEST 1234 5698 7654 32"}


@pytest.fixture
def body(wallet):
    return {"wallet": str(wallet.uuid), "amount": "30.00"}


@pytest.fixture
def payout(wallet):
    return schedule_payout(wallet=wallet, amount=30).payout


def path(payout, verb=""):
    return f"/api/v1/payouts/{payout.uuid}{verb}"


def test_a_payout_is_scheduled_and_shown(api, wallet, body):
    later = "2100-01-01T09:00:00+01:00"
    answer = api.post(
        "/api/v1/payouts",
        body | {"scheduled_for": later, "destination": PAYEE, "meta": {"order": "7"}},
        key="k",
    )
    assert answer.status == 201
    shown = answer.body
    assert (shown["status"], shown["amount"], shown["bank"]) == ("PENDING", "30.00", "default")
    assert shown["scheduled_for"] == "2100-01-01T08:00:00Z"
    assert shown["destination"] == {"iban": "GB82WEST12345698765432", "name": "Bob"}
    assert (shown["retry_count"], shown["meta"]) == (0, {"order": "7"})
    assert answer.headers["Location"] == f"/api/v1/payouts/{shown['uuid']}"
    assert api.get(answer.headers["Location"]).body["uuid"] == shown["uuid"]


def test_the_same_key_gets_the_first_answer(api, body):
    first, again = (api.post("/api/v1/payouts", body, key="k") for _ in range(2))
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Payout.objects.count() == 1
    other = api.post("/api/v1/payouts", body | {"amount": "31.00"}, key="k")
    assert (other.status, other.code) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount": 30}, 400, "invalid_request"),
        ({"amount": "0.001"}, 422, "amount_invalid"),
        ({"bank": "nobody"}, 422, "bank_not_found"),
        ({"destination": {"name": "Bob"}}, 400, "invalid_request"),
        ({"destination": PAYEE | {"iban": "GB00WEST12345698765432"}}, 422, "destination_invalid"),
        ({"scheduled_for": "tomorrow"}, 400, "invalid_request"),
        ({"colour": "red"}, 400, "invalid_request"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(api, body, unchanged, change, status, code):
    answer = api.post("/api/v1/payouts", body | change, key="k")
    assert (answer.status, answer.code) == (status, code)


def test_a_key_is_needed(api, body, unchanged):
    assert api.post("/api/v1/payouts", body).code == "idempotency_key_required"


def test_others_see_and_move_nothing(bobs_api, staffs_api, payout, body, unchanged):
    assert bobs_api.post("/api/v1/payouts", body, key="k").status == 404
    assert bobs_api.get(path(payout)).status == 404
    assert bobs_api.post(path(payout, "/cancel")).status == 404
    assert bobs_api.get("/api/v1/payouts").body["results"] == []
    assert staffs_api.get(path(payout)).status == 200
    assert staffs_api.post(path(payout, "/cancel")).status == 404


def test_the_timeline_tells_what_happened(api, payout, keyed_bank):
    keyed_bank.break_down("unavailable", times=1)
    for _ in range(2):
        execute_payout(payout.pk)
    shown = api.get(path(payout)).body
    assert (shown["status"], shown["retry_count"]) == ("SETTLED", 1)
    assert shown["bank_reference"].startswith("B")
    assert shown["bank_response"]["state"] == "paid"
    assert [one["event"] for one in shown["timeline"]] == [
        *("requested", "held", "sent", "answered"),
        *("looked_up", "sent", "answered", "settled"),
    ]
    assert [one["attempt"] for one in shown["timeline"]] == [0, 1, 1, 1, 1, 2, 2, 2]
    times = [one["at"] for one in shown["timeline"]]
    assert times == sorted(times)


def test_seed_004s_path_shows_retries_and_the_answer_of_the_bank(api, wallet, keyed_bank):
    made = api.post(f"/wallets/{wallet.uuid}/withdraw", {"amount": 3000}).body
    keyed_bank.break_down("reject")
    execute_payout(Payout.objects.get().pk)
    shown = api.get(f"/wallets/{wallet.uuid}/transactions/{made['id']}/").body
    assert (shown["status"], shown["payout_status"]) == ("FAILED", "FAILED")
    assert (shown["failure_code"], shown["retry_count"]) == ("bank_refused", 0)
    assert shown["bank_response"]["code"] == "account_closed"


def test_what_waits_is_cancelled(api, payout, wallet):
    for _ in range(2):
        answer = api.post(path(payout, "/cancel"))
        assert (answer.status, answer.body["status"]) == (200, "CANCELLED")
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.pending_balance) == (100, 0)


def test_what_was_paid_is_not_cancelled(api, payout, keyed_bank):
    execute_payout(payout.pk)
    answer = api.post(path(payout, "/cancel"))
    assert (answer.status, answer.code) == (409, "payout_in_flight")


def test_lists_are_filtered(api, wallet, payout):
    later = schedule_payout(
        wallet=wallet, amount=1, scheduled_for=datetime(2100, 1, 1, tzinfo=UTC)
    ).payout
    Payout.objects.filter(pk=payout.pk).update(status="review", due_at=None)

    def found(query):
        answer = api.get(f"/api/v1/payouts{query}")
        assert answer.status == 200, answer.body
        return [one["uuid"] for one in answer.body["results"]]

    both = [str(later.uuid), str(payout.uuid)]
    assert found("") == both
    assert found("?status=review") == both[1:]
    assert found("?status=PENDING") == both[:1]
    assert found(f"?wallet={wallet.uuid}&bank=default") == both
    assert found(f"?wallet={uuid4()}") == []
    assert found("?scheduled_from=2099-01-01T00:00:00Z") == both[:1]
    assert found("?bank=other") == []
    for query in ("?status=lost", "?wallet=x", "?scheduled_from=soon", "?bank=" + "x" * 65):
        assert api.get(f"/api/v1/payouts{query}").code == "invalid_request"


# Files


def upload(api, text, query=""):
    body = text if isinstance(text, bytes) else text.encode()
    return api.send("POST", f"/api/v1/payouts/uploads{query}", body, **{"Content-Type": "text/csv"})


def test_a_file_is_checked_and_then_scheduled_once(api, wallet, snapshot):
    text = (
        "wallet,amount,idempotency_key,scheduled_for,name,iban\n"
        f"{wallet.uuid},10.00,a,,,\n"
        f'{wallet.uuid},2.50,b,2100-01-01T09:00:00Z,"Müller, Zoë",GB82WEST12345698765432\n'
    )
    before = snapshot()
    dry = upload(api, text, "?dry_run=true")
    assert (dry.status, dry.body["lines"], dry.body["totals"]) == (200, 2, {"USD": "12.50"})
    assert (dry.body["errors"], dry.body["payouts"], snapshot()) == ([], [], before)
    done = upload(api, text)
    assert done.status == 201
    assert upload(api, text).body["payouts"] == done.body["payouts"]
    assert Payout.objects.count() == 2
    second = Payout.objects.get(uuid=done.body["payouts"][1])
    assert second.destination["name"] == "Müller, Zoë"


def test_each_wrong_line_is_named_and_nothing_is_scheduled(api, wallet, bobs_wallet, unchanged):
    text = (
        "\ufeffidempotency_key,wallet,amount,scheduled_for\r\n"
        f"a,{wallet.uuid},1.00,\r\n"
        f"b,{wallet.uuid},1.001,\r\n"
        f"c,{bobs_wallet.uuid},1.00,\r\n"
        f"d,x,1.00,\r\n"
        f"a,{wallet.uuid},1.00,\r\n"
        f"e,{wallet.uuid},=1+1,\r\n"
        f"f,{wallet.uuid},1.00,2100-01-01\r\n"
        f"g,{wallet.uuid},1.00\r\n"
    )
    answer = upload(api, text)
    assert (answer.status, answer.code) == (422, "upload_invalid")
    expected = [
        (3, None, "amount_invalid"),
        (4, None, "account_not_found"),
        (5, "wallet", "invalid_request"),
        (6, "idempotency_key", "invalid_request"),
        (7, "amount", "invalid_request"),
        (8, "scheduled_for", "invalid_request"),
        (9, None, "invalid_request"),
    ]
    lines = answer.body["error"]["details"]["lines"]
    assert [(one["line"], one["column"], one["code"]) for one in lines] == expected
    dry = upload(api, text, "?dry_run=true")
    assert (dry.status, dry.body["errors"]) == (200, lines)


def test_a_key_that_was_used_stops_the_file(api, wallet, body):
    api.post("/api/v1/payouts", body, key="a")
    text = f"wallet,amount,idempotency_key\n{wallet.uuid},1.00,b\n\n{wallet.uuid},1.00,a\n"
    answer = upload(api, text)
    assert answer.code == "upload_invalid"
    assert answer.body["error"]["details"]["lines"] == [
        {
            "line": 4,
            "column": None,
            "code": "idempotency_conflict",
            "message": "The idempotency key was used for something else.",
        }
    ]
    assert Payout.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"", 422),
        (b"\xff\xfe", 422),
        (b"wallet,amount\n", 422),
        (b"wallet,amount,idempotency_key\n", 422),
        (b"wallet,amount,idempotency_key,colour\n1,2,3,4\n", 422),
        (b"wallet,wallet,amount,idempotency_key\n1,2,3,4\n", 422),
        (b'wallet,amount,idempotency_key\n"1,2,3\n', 422),
        (b"wallet,amount,idempotency_key\n\x00,2,3\n", 422),
        (b"wallet,amount,idempotency_key\n" + b"1,2,3\n" * 1001, 422),
        (b"x" * 2_000_000, 413),
    ],
)
def test_what_is_no_such_file_is_refused(api, unchanged, text, status):
    assert upload(api, text).status == status


def test_a_file_of_another_kind_is_refused(api, unchanged):
    answer = api.post("/api/v1/payouts/uploads", {"a": 1})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert upload(api, "", "?dry_run=maybe").code == "invalid_request"


# Messages of banks


@pytest.fixture
def anybody():
    from tests.rest.api import Api

    return Api(None)


def send_message(api, message, bank="default"):
    headers = {**message["headers"], "Content-Type": "application/json"}
    return api.send("POST", f"/api/v1/payouts/reports/{bank}", message["body"].encode(), **headers)


def test_a_signed_message_is_heard(anybody, payout, keyed_bank):
    keyed_bank.break_down("accept")
    execute_payout(payout.pk)
    keyed_bank.client.post(f"/payments/{payout.uuid}/settle")
    for message in keyed_bank.client.get("/messages").json()["messages"] * 2:
        assert send_message(anybody, message).body == {"status": "ok"}
    payout.refresh_from_db()
    assert payout.status == "settled"


def test_a_message_that_nobody_signed_is_not_heard(anybody, payout, keyed_bank, unchanged):
    body = json.dumps({"reference": str(payout.uuid), "state": "paid"})
    for bank in ("default", "nobody"):
        answer = send_message(anybody, {"headers": {}, "body": body}, bank)
        assert (answer.status, answer.code) == (401, "bank_signature_invalid")


# Plans


@pytest.fixture
def plan(wallet):
    return {
        "wallet": str(wallet.uuid),
        "amount": "5.00",
        "frequency": "monthly",
        "first_date": "2100-01-31",
        "local_time": "09:00",
        "time_zone": "Europe/Berlin",
    }


def test_a_plan_is_made_shown_and_ended(api, bobs_api, plan):
    answer = api.post("/api/v1/recurring-payouts", plan, key="k")
    assert answer.status == 201
    made = answer.body
    assert (made["status"], made["next_at"], made["made"]) == ("ACTIVE", "2100-01-31T08:00:00Z", 0)
    again = api.post("/api/v1/recurring-payouts", plan, key="k")
    assert (again.body, again.headers["Idempotent-Replayed"]) == (made, "true")
    place = answer.headers["Location"]
    assert bobs_api.get(place).status == 404
    assert bobs_api.post(f"{place}/cancel").status == 404
    assert api.get("/api/v1/recurring-payouts").body["results"] == [made]
    ended = api.post(f"{place}/cancel").body
    assert (ended["status"], ended["next_at"]) == ("CANCELLED", None)
    assert api.get(place).body == ended


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"frequency": "hourly"}, 400, "invalid_request"),
        ({"first_date": "2100-02-30"}, 400, "invalid_request"),
        ({"first_date": 5}, 400, "invalid_request"),
        ({"local_time": "25:00"}, 400, "invalid_request"),
        ({"local_time": "09:00+01:00"}, 400, "invalid_request"),
        ({"time_zone": "Mars"}, 422, "recurrence_invalid"),
        ({"last_date": "2099-01-01"}, 422, "recurrence_invalid"),
        ({"amount": "0"}, 422, "amount_invalid"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(api, plan, unchanged, change, status, code):
    answer = api.post("/api/v1/recurring-payouts", plan | change, key="k")
    assert (answer.status, answer.code) == (status, code)
    assert RecurringPayout.objects.count() == 0
