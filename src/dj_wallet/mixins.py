"""What a model gets by `class User(WalletMixin, AbstractUser)`, and what a product says about itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import models, transaction

from . import signals
from .exceptions import WalletException
from .holders import remember_wallet, with_wallets
from .ledger.money import ZERO
from .ledger.post import run_in_transaction, start_writing
from .services.limits import set_limits
from .services.lots import grant_credit
from .utils import (
    get_exchange_service,
    get_purchase_service,
    get_transaction_model,
    get_transfer_service,
    get_wallet_mixin,
    get_wallet_model,
    get_wallet_service,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from .cart import Cart
    from .models import Hold, Lot, Purchase, Transaction, Transfer, Wallet
    from .pricing import Fee, Quote
    from .services.limits import LimitStatus

DEFAULT_SLUG = "default"


class WalletMixin:
    """Gives any saved model instance wallets, told apart by slug; the verbs act on the one called "default".

    `wallet` and `balance` ask the database each time. The verbs remember which account a wallet is, which never
    changes, and nothing else of it.
    """

    pk: Any

    @property
    def wallet(self) -> "Wallet":
        """The default wallet, created if necessary."""
        return self.get_wallet()

    @property
    def balance(self) -> "Decimal":
        """The available balance of the default wallet, 0 without one; creates none."""
        wallet = get_wallet_model().objects.get_wallet(cast(models.Model, self))
        if wallet is None:
            return ZERO
        remember_wallet(self, wallet)
        balance: Decimal = wallet.balance
        return balance

    def get_wallet(self, slug: str = DEFAULT_SLUG) -> "Wallet":
        """Return the holder's wallet of that slug, created if necessary."""
        holder = cast(models.Model, self)
        model = get_wallet_model()
        wallet = model.objects.get_wallet(holder, slug)
        if wallet is None:
            wallet = run_in_transaction(
                lambda: self._get_or_create_wallet(slug), using=model.objects.db
            )
        remember_wallet(self, wallet)
        return wallet

    def _get_or_create_wallet(self, slug: str) -> "Wallet":
        wallets = get_wallet_model().objects
        start_writing(wallets.db)
        wallet, created = wallets.get_or_create_wallet(cast(models.Model, self), slug)
        if created:
            announce_wallet(wallet, self)
        return wallet

    def create_wallet(self, slug: str, **meta: Any) -> "Wallet":
        """Create a wallet; `currency` in `meta` names its asset.

        :raises IntegrityError: the holder has a wallet of that slug
        """
        model = get_wallet_model()

        def create() -> "Wallet":
            start_writing(model.objects.db)
            wallet = model(slug=slug, meta=meta, holder=cast(models.Model, self))
            # A savepoint: a slug that is taken, or a receiver that raises, leaves the caller's transaction usable.
            with transaction.atomic(using=model.objects.db):
                wallet.save(force_insert=True)
                announce_wallet(wallet, self)
            return wallet

        return run_in_transaction(create, using=model.objects.db)

    def has_wallet(self, slug: str = DEFAULT_SLUG) -> bool:
        """Tell whether the holder has a wallet of that slug; creates none."""
        wallets = get_wallet_model().objects.held_by(cast(models.Model, self))
        return wallets.filter(slug=slug).exists()

    def deposit(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> "Transaction":
        """Add to the default wallet; see `WalletService.deposit`."""
        return with_wallets(
            lambda wallet: get_wallet_service().deposit(
                wallet, amount, meta=meta, confirmed=confirmed, **options
            ),
            self,
        )

    def withdraw(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> "Transaction":
        """Take from the default wallet; see `WalletService.withdraw`."""
        return with_wallets(
            lambda wallet: get_wallet_service().withdraw(
                wallet, amount, meta=meta, confirmed=confirmed, **options
            ),
            self,
        )

    def force_withdraw(
        self, amount: Any, meta: Any = None, confirmed: bool = True, **options: Any
    ) -> "Transaction":
        """Take from the default wallet even what it does not hold; see `WalletService.force_withdraw`."""
        return with_wallets(
            lambda wallet: get_wallet_service().force_withdraw(
                wallet, amount, meta=meta, confirmed=confirmed, **options
            ),
            self,
        )

    def hold(self, amount: Any, **options: Any) -> "Hold":
        """Reserve an amount of the default wallet for a reference; see `WalletService.hold`."""
        return with_wallets(
            lambda wallet: get_wallet_service().hold(wallet, amount, **options), self
        )

    def release_hold(self, amount: Any = None, **options: Any) -> "Hold":
        """Give back what is held of the default wallet for a reference; see `WalletService.release_hold`."""
        return with_wallets(
            lambda wallet: get_wallet_service().release_hold(wallet, amount, **options), self
        )

    def transfer(
        self, to_holder: "WalletMixin", amount: Any, meta: Any = None, **options: Any
    ) -> "Transfer":
        """Move to the default wallet of another holder; see `TransferService.transfer`."""
        return get_transfer_service().transfer(self, to_holder, amount, meta, **options)

    def safe_transfer(
        self, to_holder: Any, amount: Any, meta: Any = None, **options: Any
    ) -> "Transfer":
        """Transfer as `transfer` does.

        :raises WalletException: the receiver has no wallets
        """
        if not (hasattr(type(to_holder), "wallet") or hasattr(to_holder, "wallet")):
            raise WalletException("Receiver does not have a wallet.")
        return self.transfer(to_holder, amount, meta, **options)

    def exchange(
        self, from_slug: str, to_slug: str, amount: Any, rate: Any = None, **options: Any
    ) -> "Transaction":
        """Exchange between two of the holder's wallets; see `ExchangeService.exchange`."""
        return get_exchange_service().exchange(self, from_slug, to_slug, amount, rate, **options)

    def pay(self, item: Any, quantity: int = 1, **options: Any) -> Any:
        """Buy a product; see `PurchaseService.pay`."""
        return get_purchase_service().pay(self, item, quantity, **options)

    def pay_free(self, item: Any, quantity: int = 1, **options: Any) -> "Purchase":
        """Get a product for nothing; see `PurchaseService.pay_free`."""
        return get_purchase_service().pay_free(self, item, quantity, **options)

    def pay_cart(self, cart: "Cart", **options: Any) -> "Purchase":
        """Buy everything in a cart or nothing; see `PurchaseService.pay_cart`."""
        return get_purchase_service().pay_cart(self, cart, **options)

    def gift(self, to_holder: Any, item: Any, quantity: int = 1, **options: Any) -> Any:
        """Buy a product for somebody else; see `PurchaseService.gift`."""
        return get_purchase_service().gift(self, to_holder, item, quantity, **options)

    def quote(self, item: Any, quantity: int = 1, **options: Any) -> "Quote":
        """Return what a product or a cart would cost now; see `PurchaseService.quote`."""
        return get_purchase_service().quote(self, item, quantity, **options)

    def count_bought(self, product: models.Model) -> int:
        """Return how many units of the product the holder bought or was given, and did not give back."""
        from .models import PurchaseLine

        return PurchaseLine.objects.of(cast(models.Model, self), product).count_units()

    def grant_credit(self, amount: Any, **options: Any) -> "Lot":
        """Grant credit to the default wallet; see `services.lots.grant_credit`."""
        return grant_credit(wallet=self.get_wallet(), amount=amount, **options)

    def set_limits(self, **limits: Any) -> "LimitStatus":
        """Set limits of the default wallet; see `services.limits.set_limits`."""
        return set_limits(wallet=self.get_wallet(), **limits)

    def freeze_wallet(self, slug: str = DEFAULT_SLUG, reason: str = "") -> "Wallet":
        """Freeze the wallet and return it."""
        wallet = self.get_wallet(slug)
        wallet.freeze(reason)
        return wallet

    def unfreeze_wallet(self, slug: str = DEFAULT_SLUG) -> "Wallet":
        """Unfreeze the wallet and return it."""
        wallet = self.get_wallet(slug)
        wallet.unfreeze()
        return wallet

    def is_wallet_frozen(self, slug: str = DEFAULT_SLUG) -> bool:
        """Tell whether the wallet is frozen; creates none."""
        wallets = get_wallet_model().objects.held_by(cast(models.Model, self))
        return wallets.filter(slug=slug, is_frozen=True).exists()

    def get_pending_transactions(self, slug: str = DEFAULT_SLUG) -> "models.QuerySet[Transaction]":
        """Return the transactions of the wallet that wait for confirmation; creates none."""
        wallet = get_wallet_model().objects.get_wallet(cast(models.Model, self), slug)
        records = get_transaction_model().objects
        return records.none() if wallet is None else records.filter(wallet=wallet, status="pending")


def announce_wallet(wallet: "Wallet", holder: object) -> None:
    """Send the signal of a new wallet."""
    signals.announce(
        signals.wallet_created, type(wallet), using=wallet._state.db, wallet=wallet, holder=holder
    )


class ProductMixin:
    """What a model needs to be bought: `get_amount_product`. Everything else has an answer already.

    All are asked inside the transaction that pays, while the wallets of buyer and receivers are locked.
    """

    def get_amount_product(self, customer: Any) -> Any:
        """Return the price of one unit for this customer."""
        raise NotImplementedError("Subclasses must implement get_amount_product()")

    def get_meta_product(self) -> Mapping[str, Any]:
        """Return what the records of the payment should say about it."""
        return {}

    def can_buy(self, customer: Any, quantity: int = 1) -> bool:
        """Tell whether the customer may buy so many."""
        return True

    def take_stock(self, customer: Any, quantity: int) -> bool:
        """Take so many out of stock and tell whether there were enough; what this writes is undone if the payment fails."""
        return self.can_buy(customer, quantity)

    def return_stock(self, customer: Any, quantity: int) -> None:
        """Put so many back into stock: a refund gave these units back, in the same transaction. Does nothing by itself."""

    def get_discount_product(self, customer: Any) -> Any:
        """Return what this customer pays less for one unit."""
        return 0

    def get_fee_product(self, customer: Any) -> "Fee | None":
        """Return the rule of the platform's fee, None for none."""
        return None

    def get_wallet_product(self) -> Any:
        """Return who gets the money: a wallet, or a holder whose default wallet it is.

        None for the product's own wallet if it has one, else for ours, the system account `sales`.
        """
        return None


def install_mixin_class() -> None:
    """Let every model that has WalletMixin have the WALLET_MIXIN_CLASS of the settings in its place."""
    chosen = get_wallet_mixin()
    if chosen is WalletMixin:
        return
    for model in apps.get_models():
        for owner in model.__mro__:
            if WalletMixin in owner.__bases__ and not issubclass(chosen, owner):
                owner.__bases__ = tuple(
                    chosen if base is WalletMixin else base for base in owner.__bases__
                )
