"""Reading what venues answer: strictly, so that an answer of another shape is an error and never an address."""

import datetime
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .addresses import find_address_fault, find_tag_fault, needs_tag
from .contract import (
    Addresses,
    AddressState,
    DepositAddress,
    NetworkOption,
    NetworkSource,
    RefusedAddress,
)
from .errors import (
    AddressInvalid,
    AddressNotAvailable,
    NetworkNotSupported,
    TagInvalid,
    TagMissing,
    VenueBadResponse,
    VenueError,
)
from .networks import NETWORKS

MAX_LABEL_CHARACTERS = 100


class Row(NamedTuple):
    """One address as the venue gave it, not yet believed."""

    option: NetworkOption
    address: str
    tag: str | None
    source: NetworkSource
    state: AddressState = AddressState.CURRENT
    expires_at: datetime.datetime | None = None


def read_dict(answer: Any, *path: str) -> dict[str, Any]:
    """Return the object at a path.

    :raises VenueBadResponse: there is none
    """
    found = _walk(answer, path)
    if not isinstance(found, dict):
        raise VenueBadResponse("The exchange's answer has not the documented form.")
    return found


def read_list(answer: Any, *path: str) -> list[Any]:
    """Return the array at a path.

    :raises VenueBadResponse: there is none
    """
    found = _walk(answer, path)
    if not isinstance(found, list):
        raise VenueBadResponse("The exchange's answer has not the documented form.")
    return found


def read_text(row: Any, name: str) -> str:
    """Return a text that must be there.

    :raises VenueBadResponse: it is not
    """
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise VenueBadResponse("The exchange's answer has not the documented form.")
    return value


def find_text(row: dict[str, Any], *names: str) -> str | None:
    """Return the first of these fields that says anything, without the blanks around it; numbers as text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def find_number(row: dict[str, Any], name: str) -> int | None:
    value = row.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_moment(value: Any, *, unit: float = 1) -> datetime.datetime | None:
    """Return a time given in units since 1970, as number or text; 0 and nothing mean that there is none."""
    try:
        seconds = float(value or 0) / unit
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC) if seconds > 0 else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def read_date(value: Any) -> datetime.datetime | None:
    """Return a time given in ISO 8601, or None."""
    try:
        moment = datetime.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC) if moment else None


def _walk(answer: Any, path: Sequence[str]) -> Any:
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def verify(venue: str, row: Row) -> DepositAddress:
    """Return an address whose network and form are certain.

    :raises NetworkNotSupported: the venue's network is not one that we know
    :raises AddressNotAvailable: the venue gave an empty address
    :raises AddressInvalid: the address has not the form of the network
    :raises TagMissing: deposits need a tag and there is none
    :raises TagInvalid: the tag has not the form of the network
    """
    option = row.option
    about: dict[str, Any] = {"venue": venue, "currency": option.currency, "network": option.network}
    if option.network not in NETWORKS:
        raise NetworkNotSupported(
            f"We cannot verify addresses of the network {option.venue_network[:50]!r}.", **about
        )
    network = NETWORKS[option.network]
    if not row.address:
        raise AddressNotAvailable("The exchange has no address for this network yet.", **about)
    if fault := find_address_fault(network.id, row.address):
        raise AddressInvalid(f"The exchange's answer is refused: {fault}.", **about)
    if row.tag is not None and (fault := find_tag_fault(network.id, row.tag)):
        raise TagInvalid(f"The exchange's answer is refused: {fault}.", **about)
    tag_required = needs_tag(network, venue_says=option.tag_required)
    if tag_required and row.tag is None:
        raise TagMissing(
            f"Deposits on {network.name} need a {network.tag}, and the exchange gave none.", **about
        )
    return DepositAddress(
        venue=venue,
        currency=option.currency,
        network=network.id,
        venue_network=option.venue_network,
        network_label=option.label[:MAX_LABEL_CHARACTERS],
        address=row.address,
        tag=row.tag,
        tag_required=tag_required,
        network_source=row.source,
        state=row.state,
        expires_at=row.expires_at,
        warnings=() if option.deposits_enabled else ("deposits_disabled",),
        confirmations=option.confirmations,
        minimum_deposit=option.minimum_deposit,
        contract=option.contract,
    )


def sort_out(venue: str, rows: Iterable[Row]) -> Addresses:
    """Verify every row; one that fails is reported and does not hide the others."""
    found: dict[tuple[str, str, str | None], DepositAddress] = {}
    refused = []
    for row in rows:
        try:
            address = verify(venue, row)
        except VenueError as error:
            option = row.option
            refused.append(
                RefusedAddress(
                    option.currency, option.network, option.venue_network, error.code, str(error)
                )
            )
        else:
            found.setdefault((address.network, address.address, address.tag), address)
    return Addresses(tuple(found.values()), tuple(refused))
