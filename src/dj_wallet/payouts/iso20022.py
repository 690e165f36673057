"""ISO 20022: orders to a bank (pain.001.001.03) and its statements (camt.053, any version). No database.

Files from outside are read by defusedxml: no entities, no external definitions.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from sepaxml import SepaTransfer

from dj_wallet.ledger.money import to_minor_units

from .bank import Order
from .banks.file import FileBank
from .errors import DestinationInvalid, StatementInvalid

MAX_STATEMENT_BYTES: Final = 20 * 1024 * 1024
# pain.001 and SEPA speak of cents.
FILE_DECIMAL_PLACES: Final = 2
OUT, BACK = "DBIT", "CRDT"


class Booking(NamedTuple):
    """One line of a statement. The amount is below zero for what came back."""

    reference: str
    bank_reference: str
    amount: Decimal
    asset: str
    booked_at: datetime
    reason: str


class ParsedStatement(NamedTuple):
    """A statement as the bank wrote it."""

    identifier: str
    account: str
    begins_at: datetime
    ends_at: datetime
    bookings: list[Booking]


def write_orders(
    bank: FileBank, orders: Sequence[Order], *, message_id: str, execution_date: date
) -> str:
    """Return a pain.001 file, checked against its schema. The end-to-end id is the reference without its dashes.

    :raises DestinationInvalid: the schema refuses an order
    """
    config: dict[str, Any] = {
        "name": bank.name,
        "IBAN": bank.iban,
        "currency": bank.currency,
        "batch": True,
    }
    if bank.bic:
        config["BIC"] = bank.bic
    transfer = SepaTransfer(config, clean=True)
    transfer.msg_id = message_id
    for order in orders:
        payment: dict[str, Any] = {
            "name": order.destination["name"],
            "IBAN": order.destination["iban"],
            "amount": to_minor_units(order.amount, FILE_DECIMAL_PLACES),
            "execution_date": execution_date,
            "description": order.destination.get("text") or f"Payout {order.reference}",
            "endtoend_id": order.reference.replace("-", ""),
        }
        if bic := order.destination.get("bic"):
            payment["BIC"] = bic
        transfer.add_payment(payment)
    try:
        text: bytes = transfer.export(validate=True)
    except Exception as error:  # the package raises bare exceptions
        raise DestinationInvalid(f"The file of orders is not valid: {error}") from error
    return text.decode()


def read_statements(text: bytes) -> list[ParsedStatement]:
    """Return the statements of a camt.053 file.

    :raises StatementInvalid: it is none, or lacks what we need
    """
    if len(text) > MAX_STATEMENT_BYTES:
        raise StatementInvalid("The file is too long.")
    try:
        root = fromstring(text)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise StatementInvalid(f"The file is no XML that we read: {error}") from error
    if not _name(root) == "Document":
        raise StatementInvalid("The file is no ISO 20022 document.")
    statements = [_read_statement(one) for one in _all(root, "BkToCstmrStmt", "Stmt")]
    if not statements:
        raise StatementInvalid("The file holds no camt.053 statement.")
    return statements


def _read_statement(element: Element) -> ParsedStatement:
    created = _read_moment(_text(element, "CreDtTm"))
    bookings = [one for entry in _all(element, "Ntry") for one in _read_entry(entry)]
    moments = [booking.booked_at for booking in bookings] or [created]
    begins = _text(element, "FrToDt", "FrDtTm", default="")
    ends = _text(element, "FrToDt", "ToDtTm", default="")
    return ParsedStatement(
        _text(element, "Id")[:140],
        _text(element, "Acct", "Id", "IBAN", default="")[:64],
        _read_moment(begins) if begins else min(moments),
        _read_moment(ends) if ends else max(*moments, created),
        bookings,
    )


def _read_entry(entry: Element) -> Iterator[Booking]:
    """Yield a booking for each transaction of an entry, or one for an entry without details."""
    details = _all(entry, "NtryDtls", "TxDtls") or [entry]
    for detail in details:
        amount = _find(detail, "Amt")
        if amount is None:
            amount = _find(detail, "AmtDtls", "TxAmt", "Amt")
        if amount is None and len(details) == 1:
            amount = _find(entry, "Amt")
        if amount is None:
            raise StatementInvalid("A booking has no amount.")
        direction = _text(detail, "CdtDbtInd", default="") or _text(entry, "CdtDbtInd")
        if direction not in {OUT, BACK}:
            raise StatementInvalid(f"A booking is neither {OUT} nor {BACK}.")
        number = _read_amount(amount.text or "")
        yield Booking(
            _text(detail, "Refs", "EndToEndId", default="")[:200],
            (
                _text(detail, "Refs", "AcctSvcrRef", default="")
                or _text(entry, "AcctSvcrRef", default="")
            )[:200],
            number if direction == OUT else -number,
            amount.get("Ccy", "")[:32],
            _read_booking_time(entry),
            _read_reason(detail)[:255],
        )


def _read_reason(detail: Element) -> str:
    parts = [
        _text(detail, "RtrInf", "Rsn", "Cd", default=""),
        _text(detail, "RtrInf", "AddtlInf", default=""),
    ]
    return " ".join(part for part in parts if part)


def _read_booking_time(entry: Element) -> datetime:
    for path in (("BookgDt", "DtTm"), ("BookgDt", "Dt")):
        if text := _text(entry, *path, default=""):
            return _read_moment(text)
    raise StatementInvalid("A booking has no date.")


def _read_moment(text: str) -> datetime:
    """Return a time; a date is its beginning, and a time without an offset is taken for UTC."""
    try:
        if "T" not in text:
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise StatementInvalid(f"{text!r} is no date.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise StatementInvalid(f"{text!r} is no amount.") from None
    if not amount.is_finite() or amount < 0:
        raise StatementInvalid(f"{text!r} is no amount.")
    return amount


def _name(element: Element) -> str:
    """Return the element's name without the namespace, which differs between versions."""
    return str(element.tag).rpartition("}")[2]


def _all(element: Element, *path: str) -> list[Element]:
    found = [element]
    for name in path:
        found = [child for one in found for child in one if _name(child) == name]
    return found


def _find(element: Element, *path: str) -> Element | None:
    found = _all(element, *path)
    return found[0] if found else None


def _text(element: Element, *path: str, default: str | None = None) -> str:
    found = _find(element, *path)
    text = (found.text or "").strip() if found is not None else ""
    if text:
        return text.replace("\x00", "\ufffd")
    if default is None:
        raise StatementInvalid(f"{'/'.join(path)} is missing.")
    return default
