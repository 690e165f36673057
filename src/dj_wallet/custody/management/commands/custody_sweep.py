"""Move outputs to cold storage: `manage.py custody_sweep NETWORK`, by the signer or by an offline one through PSBT."""

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dj_wallet.custody.chain.errors import ChainError
from dj_wallet.custody.models import ChainTransaction
from dj_wallet.custody.services.cold import export_psbt, import_psbt
from dj_wallet.custody.services.spending import plan_sweep


class Command(BaseCommand):
    help = "Plan a sweep of the smallest outputs to the network's cold address; exchange PSBTs with an offline signer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("network", help="Such as DOGE:main.")
        parser.add_argument("--export", type=UUID, metavar="UUID", help="Print its PSBT.")
        parser.add_argument(
            "--import",
            type=UUID,
            metavar="UUID",
            dest="imported",
            help="Read its signed PSBT from standard input.",
        )
        parser.add_argument(
            "--fingerprint", default="00000000", help="Of the offline signer's master key."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._handle(options)
        except ChainTransaction.DoesNotExist:
            raise CommandError("No such transaction waits for signatures.") from None
        except (ChainError, ValueError) as error:
            raise CommandError(str(error)) from None

    def _handle(self, options: dict[str, Any]) -> None:
        if options["export"]:
            fingerprint = bytes.fromhex(options["fingerprint"])
            self.stdout.write(export_psbt(uuid=options["export"], master_fingerprint=fingerprint))
        elif options["imported"]:
            signed = import_psbt(uuid=options["imported"], psbt=sys.stdin.read().strip())
            self.stdout.write(f"{signed.txid} will be sent.")
        else:
            planned = plan_sweep(options["network"])
            if planned is None:
                raise CommandError("There is no cold address, nothing worth it, or a sweep runs.")
            self.stdout.write(
                f"{planned.uuid}: {planned.amount:.8f}, fee {planned.network_fee:.8f}"
            )
