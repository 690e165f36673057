"""Statements: what is paid is settled, what came back is returned, what does not fit is put before people."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command

from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.models import Transaction
from dj_wallet.payouts.errors import BankNotFound, DestinationInvalid, StatementInvalid
from dj_wallet.payouts.iso20022 import Booking, ParsedStatement, read_statements
from dj_wallet.payouts.models import Discrepancy, PaymentFile, Payout, Statement, StatementLine
from dj_wallet.payouts.services import (
    close_discrepancy,
    execute_payout,
    export_orders,
    import_statement,
    schedule_payout,
)
from tests.payouts.conftest import FILE, HOLD, RETURN, SETTLE, list_postings, look

pytestmark = pytest.mark.django_db

IBAN = "DE89370400440532013000"
PAYEE = {"name": "Zoë Müller & Söhne", "iban": "GB82 WEST 1234 5698 7654 32"}


def take_in(bank, **query):
    """Import the sandbox bank's statement; return the verdicts of its lines."""
    text = bank.client.get("/statement", params=query).content
    (parsed,) = read_statements(text)
    statement, _ = import_statement(bank="default", statement=parsed)
    lines = StatementLine.objects.filter(statement=statement).order_by("position")
    return list(lines.values_list("verdict", flat=True))


@pytest.fixture
def payout(wallet) -> Payout:
    return schedule_payout(wallet=wallet, amount=30).payout


@pytest.fixture
def settled(payout, keyed_bank) -> Payout:
    execute_payout(payout.pk)
    assert look(payout)[0] == "settled"
    return payout


def test_a_line_that_fits_matches_and_changes_nothing(settled, keyed_bank, snapshot):
    before = snapshot()
    assert take_in(keyed_bank) == ["matched"]
    assert (snapshot(), Discrepancy.objects.count()) == (before, 0)


def test_a_line_settles_a_payout_in_doubt(payout, blind_bank):
    blind_bank.break_down("paid_cut")
    execute_payout(payout.pk)
    assert look(payout)[0] == "review"
    assert take_in(blind_bank) == ["matched"]
    assert look(payout) == ("settled", "completed", 70, 0)
    assert list_postings(payout) == [HOLD, SETTLE]


def test_what_came_back_is_a_new_entry_and_a_new_record(settled, keyed_bank):
    keyed_bank.client.post(f"/payments/{settled.uuid}/return")
    assert take_in(keyed_bank) == ["matched", "returned"]
    assert look(settled) == ("returned", "completed", 100, 0)
    assert list_postings(settled) == [HOLD, SETTLE, RETURN]
    record = Transaction.objects.get(meta__action="payout_returned")
    assert (record.type, record.amount, record.status) == ("deposit", 30, "completed")
    assert record.meta["reason"] == "AC04"
    assert audit_ledger().is_clean


def test_money_comes_back_to_a_frozen_wallet_too(settled, keyed_bank, wallet):
    wallet.freeze()
    keyed_bank.client.post(f"/payments/{settled.uuid}/return")
    take_in(keyed_bank)
    assert look(settled) == ("returned", "completed", 100, 0)


def test_a_payout_that_is_missing_is_flagged_until_a_statement_shows_it(settled, keyed_bank):
    take_in(keyed_bank, leave_out=str(settled.uuid))
    (found,) = Discrepancy.objects.all()
    assert (found.kind, found.payout, found.closed_at) == ("missing", settled, None)
    assert take_in(keyed_bank) == ["matched"]
    found.refresh_from_db()
    assert found.closed_by.startswith("statement ")


def test_a_second_payment_is_flagged(settled, keyed_bank, snapshot):
    before = snapshot()
    assert take_in(keyed_bank, double=str(settled.uuid)) == ["matched", "duplicate"]
    assert Discrepancy.objects.get().kind == "duplicate"
    assert snapshot() == before


def book(payout, *lines):
    """Import a statement with these lines of the payout, amounts and the bank's references; return the verdicts."""
    now = payout.sent_at
    bookings = [
        Booking(
            payout.uuid.hex,
            reference,
            Decimal(amount),
            "USD",
            now,
            "AC04" if amount[0] == "-" else "",
        )
        for amount, reference in lines
    ]
    identifier = f"S{Statement.objects.count()}"
    parsed = ParsedStatement(identifier, "", now, now + timedelta(days=1), bookings)
    statement, _ = import_statement(bank="default", statement=parsed)
    found = StatementLine.objects.filter(statement=statement).order_by("position")
    return list(found.values_list("verdict", flat=True))


def test_a_part_that_came_back_is_given_back_and_flagged(settled):
    assert book(settled, ("30", "A"), ("-28.50", "B")) == ["matched", "returned"]
    assert look(settled) == ("settled", "completed", Decimal("98.50"), 0)
    assert list_postings(settled)[:2] == [HOLD, SETTLE]
    record = Transaction.objects.get(meta__action="payout_returned")
    assert (record.type, record.amount, record.status) == ("deposit", Decimal("28.50"), "completed")
    assert Discrepancy.objects.get().kind == "amount"
    assert settled.steps.last().detail == {
        "reason": "AC04",
        "bank_reference": "B",
        "amount": "28.50",
    }
    assert audit_ledger().is_clean


def test_with_the_last_part_the_payout_is_returned(settled):
    assert book(settled, ("30", "A"), ("-12", "B"), ("-18", "C")) == [
        "matched",
        "returned",
        "returned",
    ]
    assert look(settled) == ("returned", "completed", 100, 0)
    assert Transaction.objects.filter(meta__action="payout_returned").count() == 2
    assert audit_ledger().is_clean


@pytest.mark.parametrize("line", [("-12", "B"), ("-18.01", "C"), ("-0.001", "C")])
def test_a_part_twice_or_more_than_was_paid_moves_nothing(settled, snapshot, line):
    """The same line again, more than what is left, and less than the smallest unit."""
    book(settled, ("30", "A"), ("-12", "B"))
    before = snapshot()
    assert book(settled, line) == ["amount"]
    assert snapshot() == before
    assert look(settled) == ("settled", "completed", 82, 0)


def test_another_amount_is_flagged_and_settles_nothing(payout, blind_bank):
    blind_bank.break_down("paid_cut")
    execute_payout(payout.pk)
    assert take_in(blind_bank, wrong_amount=str(payout.uuid)) == ["amount"]
    assert look(payout) == ("review", "pending", 70, 30)
    assert Discrepancy.objects.get().detail["amount"] == "31.00"


def test_a_payment_of_what_we_gave_back_is_flagged(payout, bank, payouts_setting):
    payouts_setting(MAX_RETRIES=0)
    bank.break_down("unavailable")
    for _ in range(2):
        execute_payout(payout.pk)
    assert look(payout)[0] == "failed"
    bank.break_down("ok")
    bank.client.post("/", json={"amount": 3000, "reference": str(payout.uuid)})
    assert take_in(bank) == ["contradict"]
    assert look(payout) == ("failed", "failed", 100, 0)
    assert Discrepancy.objects.get().kind == "contradict"


def test_payments_of_others_are_none_of_our_business(settled, keyed_bank):
    order = {"reference": "somebody", "amount": "1.00", "currency": "USD"}
    keyed_bank.client.post("/v1/transfers", json=order, headers={"Idempotency-Key": "somebody"})
    assert take_in(keyed_bank) == ["matched", "foreign"]
    assert Discrepancy.objects.count() == 0


def test_the_same_statement_again_changes_nothing(settled, keyed_bank):
    for _ in range(2):
        assert take_in(keyed_bank, id="S1") == ["matched"]
    assert (Statement.objects.count(), StatementLine.objects.count()) == (1, 1)
    assert Discrepancy.objects.count() == 0


def test_a_statement_of_a_bank_that_is_not_ours_is_refused(settled, keyed_bank):
    (parsed,) = read_statements(keyed_bank.client.get("/statement").content)
    with pytest.raises(BankNotFound):
        import_statement(bank="nobody", statement=parsed)
    assert Statement.objects.count() == 0


def test_a_discrepancy_is_closed_with_a_note(settled, keyed_bank):
    take_in(keyed_bank, double=str(settled.uuid))
    found = Discrepancy.objects.get()
    closed = close_discrepancy(discrepancy=found, note="they sent it back", operator="anna")
    assert (closed.note, closed.closed_by, closed.closed_at is None) == (
        "they sent it back",
        "anna",
        False,
    )
    assert close_discrepancy(discrepancy=found, note="x", operator="otto").closed_by == "anna"


BOMB = b"""<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>
<Document><BkToCstmrStmt><Stmt><Id>&b;</Id></Stmt></BkToCstmrStmt></Document>"""
LEAK = b"""<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<Document><BkToCstmrStmt><Stmt><Id>&a;</Id></Stmt></BkToCstmrStmt></Document>"""
LINE = (
    "<Document><BkToCstmrStmt><Stmt><Id>1</Id><CreDtTm>2026-01-02T03:04:05</CreDtTm><Ntry>{}"
    "</Ntry></Stmt></BkToCstmrStmt></Document>"
)
DATE = "<BookgDt><Dt>2026-01-02</Dt></BookgDt>"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no xml",
        b"\x00\xff",
        BOMB,
        LEAK,
        b"<html/>",
        b"<Document/>",
        b"<Document><BkToCstmrStmt><Stmt/></BkToCstmrStmt></Document>",
        LINE.format(f"<CdtDbtInd>DBIT</CdtDbtInd>{DATE}").encode(),
        LINE.format(f"<Amt Ccy='USD'>x</Amt><CdtDbtInd>DBIT</CdtDbtInd>{DATE}").encode(),
        LINE.format(f"<Amt Ccy='USD'>NaN</Amt><CdtDbtInd>DBIT</CdtDbtInd>{DATE}").encode(),
        LINE.format(f"<Amt Ccy='USD'>-1</Amt><CdtDbtInd>DBIT</CdtDbtInd>{DATE}").encode(),
        LINE.format(f"<Amt Ccy='USD'>1</Amt><CdtDbtInd>OUT</CdtDbtInd>{DATE}").encode(),
        LINE.format("<Amt Ccy='USD'>1</Amt><CdtDbtInd>DBIT</CdtDbtInd>").encode(),
    ],
)
def test_what_is_no_statement_is_refused(text):
    with pytest.raises(StatementInvalid):
        read_statements(text)


def test_a_booking_of_many_payments_is_read_one_by_one():
    detail = "<TxDtls><Amt Ccy='EUR'>{}</Amt><Refs><EndToEndId>{}</EndToEndId></Refs></TxDtls>"
    entry = (
        f"<Amt Ccy='EUR'>3</Amt><CdtDbtInd>DBIT</CdtDbtInd>{DATE}<NtryDtls>"
        f"{detail.format(1, 'a')}{detail.format(2, 'b')}</NtryDtls>"
    )
    (statement,) = read_statements(LINE.format(entry).encode())
    assert [(one.reference, one.amount) for one in statement.bookings] == [("a", 1), ("b", 2)]


# Orders by file


@pytest.fixture
def file_bank(payouts_setting) -> None:
    payouts_setting(bank="default", ADAPTER=FILE, NAME="Wallets Ltd", IBAN=IBAN, CURRENCY="USD")


def test_a_file_bank_gets_a_file_and_answers_with_a_statement(wallet, file_bank, sandbox):
    made = [
        schedule_payout(wallet=wallet, amount=amount, destination=PAYEE).payout
        for amount in ("30.00", "12.34", "500")
    ]
    file = export_orders(bank="default")
    assert file is not None
    assert (file.orders, file.total) == (2, Decimal("42.34"))
    for payout in made[:2]:
        assert payout.uuid.hex in file.text
    assert '<InstdAmt Ccy="USD">12.34</InstdAmt>' in file.text
    assert "<IBAN>GB82WEST12345698765432</IBAN>" in file.text
    assert look(made[0])[0] == "accepted"
    assert look(made[2])[0] == "failed"
    assert export_orders(bank="default") is None
    sandbox.client.post("/", json={"amount": 3000, "reference": str(made[0].uuid)})
    assert take_in(sandbox) == ["matched"]
    assert look(made[0])[0] == "settled"
    assert look(made[1])[0] == "accepted"
    assert audit_ledger().is_clean


def test_a_file_bank_needs_to_know_whom_to_pay(wallet, file_bank):
    for wrong in (None, {"name": "x"}, {"iban": IBAN}, PAYEE | {"iban": IBAN[:-1] + "1"}):
        with pytest.raises(DestinationInvalid):
            schedule_payout(wallet=wallet, amount=1, destination=wrong)
    assert Payout.objects.count() == 0


def test_orders_of_a_file_bank_are_not_sent_one_by_one(wallet, file_bank):
    payout = schedule_payout(wallet=wallet, amount=1, destination=PAYEE).payout
    assert execute_payout(payout.pk) is None
    assert look(payout)[0] == "pending"


def test_the_commands_write_and_read_files(wallet, file_bank, sandbox, tmp_path, capsys):
    payout = schedule_payout(wallet=wallet, amount=1, destination=PAYEE).payout
    call_command("payouts_export", "default", "--folder", str(tmp_path))
    file = PaymentFile.objects.get()
    assert (tmp_path / f"{file.message_id}.xml").read_text() == file.text
    sandbox.client.post("/", json={"amount": 100, "reference": str(payout.uuid)})
    statement = tmp_path / "statement.xml"
    statement.write_bytes(sandbox.client.get("/statement").content)
    call_command("payouts_import", "default", str(statement))
    assert "matched 1" in capsys.readouterr().out
    assert look(payout)[0] == "settled"
