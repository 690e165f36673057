"""Files of payouts: CSV lines to requests, checked line by line, all scheduled or none.

    wallet,amount,idempotency_key,scheduled_for,bank,name,iban,bic,text

The first three columns are needed; the order is free. A line's key makes a second upload of the same file harmless.
"""

import csv
import io
import re
from collections.abc import Mapping
from typing import IO, Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser

from dj_wallet.identity.models import User
from dj_wallet.ledger.errors import AccountNotFound, WalletException
from dj_wallet.ledger.money import EXACT, ZERO
from dj_wallet.models import Transaction, Wallet
from dj_wallet.payouts.errors import UploadInvalid
from dj_wallet.payouts.models import DEFAULT_BANK
from dj_wallet.payouts.services import PayoutRequest, schedule_payouts
from dj_wallet.payouts.services.scheduling import check_request
from dj_wallet.rest.bodies import show_amount
from dj_wallet.rest.errors import BodyTooLarge
from dj_wallet.rest.fields import CANONICAL_UUID, InstantField
from dj_wallet.rest.headers import MAX_KEY_LENGTH, is_printable_ascii, scope_key
from dj_wallet.rest.queries import find_wallets, is_held_by

NEEDED: Final = ("wallet", "amount", "idempotency_key")
DESTINATION: Final = ("name", "iban", "bic", "text")
COLUMNS: Final = (*NEEDED, "scheduled_for", "bank", *DESTINATION)
MAX_LINES: Final = 1000
MAX_CELL: Final = 500
AMOUNT: Final = re.compile(r"[0-9]{1,40}(\.[0-9]{1,30})?", re.ASCII)


class CSVParser(BaseParser):
    """Reads a body of text/csv as bytes."""

    media_type = "text/csv"

    def parse(  # type: ignore[override] # a body of another kind than forms
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return the bytes.

        :raises BodyTooLarge: more than DATA_UPLOAD_MAX_MEMORY_SIZE, of which no more are read
        """
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body


class Line(NamedTuple):
    """A line of the file, with its number as an editor counts."""

    number: int
    cells: dict[str, str]


Problem = dict[str, Any]


def check_file(user: User, body: bytes) -> tuple[list[PayoutRequest], list[Problem]]:
    """Return the payouts that the file asks for, and what is wrong with its lines. Writes nothing.

    :raises UploadInvalid: it is no such file at all
    """
    lines = _read_lines(body)
    wallets = find_wallets(
        UUID(line.cells["wallet"]) for line in lines if _is_uuid(line.cells.get("wallet", ""))
    )
    requests: list[PayoutRequest] = []
    problems: list[Problem] = []
    keys: set[str] = set()
    for line in lines:
        try:
            request = _read_request(user, line, wallets, keys)
            check_request(request)
            requests.append(request)
        except _CellWrong as wrong:
            problems.append(_show_problem(line, wrong.column, "invalid_request", wrong.text))
        except WalletException as refusal:
            problems.append(_show_problem(line, None, refusal.code, str(refusal)))
    return requests, problems


def schedule_file(user: User, body: bytes) -> tuple[list[PayoutRequest], list[Transaction]]:
    """Schedule what the file asks for: all of it, or nothing.

    :raises UploadInvalid: a line is wrong
    """
    requests, problems = check_file(user, body)
    if problems:
        raise UploadInvalid("Lines of the file are wrong; nothing was scheduled.", problems)
    with transaction.atomic():
        records = []
        # No line is wrong, so there is a request for each.
        for line, outcome in zip(_read_lines(body), schedule_payouts(requests), strict=True):
            if isinstance(outcome, WalletException):
                problems.append(_show_problem(line, None, outcome.code, _name(outcome)))
            else:
                records.append(outcome)
        if problems:
            raise UploadInvalid("Lines of the file are wrong; nothing was scheduled.", problems)
        return requests, records


def sum_by_asset(requests: list[PayoutRequest]) -> dict[str, str]:
    """Return how much is asked for, by asset."""
    totals: dict[str, tuple[Any, int]] = {}
    for request in requests:
        wallet = request.wallet
        total, places = totals.get(wallet.asset_id, (ZERO, wallet.decimal_places))
        totals[wallet.asset_id] = EXACT.add(total, check_request(request).amount), places
    return {asset: show_amount(total, places) for asset, (total, places) in totals.items()}


class _CellWrong(Exception):
    def __init__(self, column: str, text: str) -> None:
        super().__init__(text)
        self.column = column
        self.text = text


def _read_lines(body: bytes) -> list[Line]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UploadInvalid("The file is not UTF-8.") from None
    if "\x00" in text:
        raise UploadInvalid("The file holds NUL.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UploadInvalid(f"The file is no CSV: {error}.") from None
    if not rows:
        raise UploadInvalid("The file is empty.")
    head = [name.strip() for name in rows[0][1]]
    if len(set(head)) != len(head) or set(head) - set(COLUMNS) or set(NEEDED) - set(head):
        raise UploadInvalid(f"The first line must name columns of {', '.join(COLUMNS)}, once each.")
    filled = [(number, row) for number, row in rows[1:] if any(cell.strip() for cell in row)]
    if not 0 < len(filled) <= MAX_LINES:
        raise UploadInvalid(f"The file must have 1 to {MAX_LINES} lines.")
    return [
        Line(number, dict(zip(head, (cell.strip() for cell in row), strict=False)))
        if len(row) == len(head)
        else Line(number, {})
        for number, row in filled
    ]


def _read_request(
    user: User, line: Line, wallets: Mapping[UUID, Wallet], keys: set[str]
) -> PayoutRequest:
    """:raises _CellWrong: a cell cannot be read; :raises WalletException: there is no such wallet"""
    cells = line.cells
    if not cells:
        raise _CellWrong("", "The line has another number of cells than the first line.")
    for column, cell in cells.items():
        if len(cell) > MAX_CELL:
            raise _CellWrong(column, f"Must not be longer than {MAX_CELL} characters.")
    if not _is_uuid(cells["wallet"]):
        raise _CellWrong("wallet", "Must be a UUID.")
    wallet = wallets.get(UUID(cells["wallet"]))
    if wallet is None or not is_held_by(wallet, user):
        raise AccountNotFound("You have no such wallet.")
    if not AMOUNT.fullmatch(cells["amount"]):
        raise _CellWrong("amount", "Must be a decimal number, such as 12.50.")
    key = cells["idempotency_key"]
    if not is_printable_ascii(key, MAX_KEY_LENGTH):
        raise _CellWrong(
            "idempotency_key", f"Must have 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        )
    if key in keys:
        raise _CellWrong("idempotency_key", "Another line has this key.")
    keys.add(key)
    destination = {name: cells[name] for name in DESTINATION if cells.get(name)}
    return PayoutRequest(
        wallet,
        cells["amount"],
        _read_time(cells.get("scheduled_for", "")),
        scope_key(user, key),
        None,
        cells.get("bank") or DEFAULT_BANK,
        destination or None,
    )


def _read_time(text: str) -> Any:
    try:
        return InstantField().to_internal_value(text) if text else None
    except ValidationError:
        raise _CellWrong(
            "scheduled_for",
            "Must be an ISO 8601 time with its offset, such as 2030-02-15T15:00:00Z.",
        ) from None


def _is_uuid(text: str) -> bool:
    return bool(CANONICAL_UUID.fullmatch(text))


def _show_problem(line: Line, column: str | None, code: str, message: str) -> Problem:
    return {"line": line.number, "column": column or None, "code": code, "message": message}


def _name(refusal: WalletException) -> str:
    # The ledger spells keys with the user in them.
    return (
        "The idempotency key was used for something else."
        if refusal.code == "idempotency_conflict"
        else str(refusal)
    )
