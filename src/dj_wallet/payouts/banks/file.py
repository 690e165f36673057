"""A bank that takes orders as ISO 20022 files (pain.001) and answers with statements (camt.053).

Nothing is sent one by one: `services.files.export_orders` makes the files.
"""

from collections.abc import Mapping

from dj_wallet.payouts.bank import Answer, Capabilities, Order, Outcome, Report


class FileBank:
    """Holds what the head of a file needs: our name, our account, our currency."""

    def __init__(self, name: str, iban: str, currency: str = "EUR", bic: str = "") -> None:
        """:param name: ours, as the account's owner"""
        self.name = name
        self.iban = iban
        self.currency = currency
        self.bic = bic
        self.capabilities = Capabilities(statement=True, is_file=True, needs_destination=True)
        self.call_seconds = 0.0

    def send(self, order: Order) -> Answer:
        """A file bank takes no single order."""
        return Answer(Outcome.NOT_SENT, {"error": "orders go by file"})

    def look_up(self, order: Order) -> Answer:
        """Only statements tell."""
        return Answer(Outcome.UNKNOWN, {"error": "statements tell"})

    def read_report(self, headers: Mapping[str, str], body: bytes) -> Report | None:
        """This bank sends nothing."""
        return None
