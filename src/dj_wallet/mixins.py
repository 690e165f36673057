"""What a model gets by `class User(WalletMixin, AbstractUser)`."""

from typing import TYPE_CHECKING, Any, cast

from django.db import models, transaction

from . import signals
from .holders import remember_wallet, with_wallets
from .ledger.post import run_in_transaction
from .models import Transaction, Transfer, Wallet
from .utils import get_transfer_service, get_wallet_service

if TYPE_CHECKING:
    from decimal import Decimal

DEFAULT_SLUG = "default"


class WalletMixin:
    """Gives any saved model instance wallets, told apart by slug; the verbs act on the one called "default".

    `wallet` and `balance` ask the database each time. The verbs remember which account a wallet is, which never
    changes, and nothing else of it.
    """

    pk: Any

    @property
    def wallet(self) -> Wallet:
        """The default wallet, created if necessary."""
        return self.get_wallet()

    @property
    def balance(self) -> "Decimal":
        """The available balance of the default wallet."""
        balance: Decimal = self.wallet.balance
        return balance

    def get_wallet(self, slug: str = DEFAULT_SLUG) -> Wallet:
        """Return the holder's wallet of that slug, created if necessary."""
        holder = cast(models.Model, self)
        wallet = Wallet.objects.get_wallet(holder, slug)
        if wallet is None:
            wallet = run_in_transaction(lambda: self._create_missing_wallet(slug))
        remember_wallet(self, wallet)
        return wallet

    def _create_missing_wallet(self, slug: str) -> Wallet:
        wallet, created = Wallet.objects.get_or_create_wallet(cast(models.Model, self), slug)
        if created:
            signals.wallet_created.send(sender=Wallet, wallet=wallet, holder=self)
        return wallet

    def create_wallet(self, slug: str, **meta: Any) -> Wallet:
        """Create a wallet; `currency` in `meta` names its asset.

        :raises IntegrityError: the holder has a wallet of that slug
        """

        def create() -> Wallet:
            wallet = Wallet(slug=slug, meta=meta, holder=cast(models.Model, self))
            with transaction.atomic():
                wallet.save(force_insert=True)
                signals.wallet_created.send(sender=Wallet, wallet=wallet, holder=self)
            return wallet

        return run_in_transaction(create)

    def has_wallet(self, slug: str = DEFAULT_SLUG) -> bool:
        """Tell whether the holder has a wallet of that slug; creates none."""
        return Wallet.objects.held_by(cast(models.Model, self)).filter(slug=slug).exists()

    def deposit(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> Transaction:
        """Add to the default wallet; see `WalletService.deposit`."""
        return with_wallets(
            lambda wallet: get_wallet_service().deposit(wallet, amount, meta, confirmed, **options),
            self,
        )

    def withdraw(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> Transaction:
        """Take from the default wallet; see `WalletService.withdraw`."""
        return with_wallets(
            lambda wallet: get_wallet_service().withdraw(
                wallet, amount, meta, confirmed, **options
            ),
            self,
        )

    def force_withdraw(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> Transaction:
        """Take from the default wallet even what it does not hold; see `WalletService.force_withdraw`."""
        return with_wallets(
            lambda wallet: get_wallet_service().force_withdraw(
                wallet, amount, meta, confirmed, **options
            ),
            self,
        )

    def transfer(
        self, to_holder: "WalletMixin", amount: Any, meta: Any = None, **options: Any
    ) -> Transfer:
        """Move to the default wallet of another holder; see `TransferService.transfer`."""
        return get_transfer_service().transfer(self, to_holder, amount, meta, **options)

    def freeze_wallet(self, slug: str = DEFAULT_SLUG, reason: str = "") -> Wallet:
        """Freeze the wallet and return it."""
        wallet = self.get_wallet(slug)
        wallet.freeze(reason)
        return wallet

    def unfreeze_wallet(self, slug: str = DEFAULT_SLUG) -> Wallet:
        """Unfreeze the wallet and return it."""
        wallet = self.get_wallet(slug)
        wallet.unfreeze()
        return wallet

    def is_wallet_frozen(self, slug: str = DEFAULT_SLUG) -> bool:
        """Tell whether the wallet is frozen; creates none."""
        return (
            Wallet.objects.held_by(cast(models.Model, self))
            .filter(slug=slug, is_frozen=True)
            .exists()
        )

    def get_pending_transactions(self, slug: str = DEFAULT_SLUG) -> models.QuerySet[Transaction]:
        """Return the transactions of the wallet that wait for confirmation."""
        return self.get_wallet(slug).transactions.filter(status=Transaction.STATUS_PENDING)
