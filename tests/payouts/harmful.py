"""A bank whose adapter harms its own worker: it dies, or is stopped, around the call. For processes of their own."""

import os
import signal
import sys
from typing import Any

from dj_wallet.payouts.bank import Answer, Order
from dj_wallet.payouts.banks.plain import PlainBank


class HarmfulBank(PlainBank):
    """Seed 004's bank, with a moment at which its worker comes to harm: "before" or "after" the call, "stop" after it, or "never"."""

    def __init__(self, moment: str, **options: Any) -> None:
        super().__init__(**options)
        self.moment = moment

    def send(self, order: Order) -> Answer:
        """Send the order, unless the worker dies first."""
        if self.moment == "before":
            os._exit(9)
        answer = super().send(order)
        if self.moment == "after":
            os._exit(9)
        if self.moment == "stop":
            sys.stdout.write("sent\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
        return answer
