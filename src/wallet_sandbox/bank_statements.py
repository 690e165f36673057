"""Statements of the simulated bank: camt.053."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"
IBAN = "DE89370400440532013000"


def write_camt053(
    payments: Iterable[Mapping[str, Any]],
    *,
    identifier: str,
    currency: str,
    decimal_places: int,
    leave_out: Collection[str] = (),
    double: Collection[str] = (),
    wrong_amount: Collection[str] = (),
) -> str:
    """Return a statement of all payments; three lists of references make it wrong."""
    now = datetime.now(UTC)
    entries = []
    for payment in payments:
        reference = payment["reference"]
        if reference in leave_out or payment.get("state", "paid") not in {"paid", "returned"}:
            continue
        amount = _read_amount(payment, decimal_places)
        if reference in wrong_amount:
            amount += Decimal(1)
        unit = payment.get("currency", currency)
        for _ in range(2 if reference in double else 1):
            entries.append(_write_entry(payment, amount, unit, "DBIT", now))  # noqa: PERF401
        if payment.get("state") == "returned":
            entries.append(_write_entry(payment, amount, unit, "CRDT", now))
    begins, ends = now - timedelta(days=1), now + timedelta(days=1)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="{NAMESPACE}"><BkToCstmrStmt>
<GrpHdr><MsgId>{escape(identifier)}</MsgId><CreDtTm>{_show(now)}</CreDtTm></GrpHdr>
<Stmt><Id>{escape(identifier)}</Id><CreDtTm>{_show(now)}</CreDtTm>
<FrToDt><FrDtTm>{_show(begins)}</FrDtTm><ToDtTm>{_show(ends)}</ToDtTm></FrToDt>
<Acct><Id><IBAN>{IBAN}</IBAN></Id></Acct>
{"".join(entries)}</Stmt></BkToCstmrStmt></Document>
"""


def _write_entry(
    payment: Mapping[str, Any], amount: Decimal, currency: str, direction: str, now: datetime
) -> str:
    reason = ""
    if direction == "CRDT":
        code = escape(str(payment.get("reason", "AC04")))
        reason = f"<RtrInf><Rsn><Cd>{code}</Cd></Rsn></RtrInf>"
    reference = escape(payment["reference"].replace("-", ""))
    own = escape(str(payment.get("id", f"B-{payment['reference']}"))[:35])
    return (
        f'<Ntry><Amt Ccy="{escape(currency)}">{amount:f}</Amt><CdtDbtInd>{direction}</CdtDbtInd>'
        f"<Sts>BOOK</Sts><BookgDt><Dt>{now.date().isoformat()}</Dt></BookgDt>"
        f"<AcctSvcrRef>{own}</AcctSvcrRef><NtryDtls><TxDtls>"
        f"<Refs><EndToEndId>{reference}</EndToEndId></Refs>{reason}</TxDtls></NtryDtls></Ntry>\n"
    )


def _read_amount(payment: Mapping[str, Any], decimal_places: int) -> Decimal:
    """Return the amount in the unit; seed 004's contract sends whole numbers of the smallest one."""
    amount = payment["amount"]
    if isinstance(amount, int):
        return Decimal(amount).scaleb(-decimal_places)
    return Decimal(amount)


def _show(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
