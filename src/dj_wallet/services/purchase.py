"""Purchases: a product or a cart, one payment, and what is given back of it."""

import json
from collections.abc import Container, Mapping, Sequence
from hashlib import blake2b
from itertools import compress
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, models

from dj_wallet.abstract_models import DEFAULT_SLUG, AbstractWallet
from dj_wallet.cart import Cart, Item
from dj_wallet.exceptions import ProductNotAvailable
from dj_wallet.holders import find_type, forget_wallets, with_wallets
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.errors import MovementInvalid, PriceChanged, TransactionAlreadyProcessed
from dj_wallet.ledger.money import ZERO
from dj_wallet.ledger.post import run_statement, start_writing
from dj_wallet.ledger.records import build_record, insert_in_order
from dj_wallet.models import Purchase, PurchaseLine, Transaction, Transfer, Wallet
from dj_wallet.pricing import Line, Quote, price_line
from dj_wallet.utils import get_transfer_service

from .bought import (
    Sale,
    describe_line,
    find_product_key,
    get_status,
    list_places,
    list_sides,
    make_numbers,
)
from .cart_at_once import pay_cart_at_once
from .holding import find_default_wallets
from .movements import (
    build_transaction,
    build_transfer,
    find_alias_of,
    is_customised,
    is_overridden,
    lock_wallets,
    part_of,
    post_records,
    refuse_other_use,
    run_undoing,
)
from .pay_at_once import pay_at_once
from .refunds import FEES, SALES, lock_payments, refund_line

MAX_NAME_LENGTH: Final = 255
# What a product may refuse a payment by.
RULES: Final = ("take_stock", "can_buy")
# What a product may make depend on what was bought before: asked for while the wallets are locked.
ASKED_LOCKED: Final = (*RULES, "get_discount_product", "get_fee_product")


class Order(NamedTuple):
    """A purchase that is asked for."""

    customer: Any
    wallet: AbstractWallet
    cart: Cart
    recipient: Any = None
    is_free: bool = False
    quote: Quote | None = None
    idempotency_key: str | None = None


class Bought(NamedTuple):
    """A sale with the records that are to be written for it."""

    sale: Sale
    payment: Transaction | None
    deposit: Transaction | None
    fee_payment: Transaction | None
    transfer: Transfer | None


class Draft(NamedTuple):
    """A purchase with everything that is to be written for it; without an entry if no money moves."""

    purchase: Purchase
    lines: list[PurchaseLine]
    transactions: list[Transaction]
    transfers: list[Transfer]
    entry: Entry | None


class PurchaseService:
    """Sells products to holders. Every method is atomic and joins the caller's transaction.

    A product is any object with `get_amount_product`; see `ProductMixin` for what else it may say. Its stock, rules,
    discounts and fees are asked for inside the transaction, while the buyer's wallet and those of the receivers are
    locked; the price of a product without any of these may be asked for before.
    """

    @classmethod
    def pay(
        cls,
        customer: Any,
        product: Any,
        quantity: int = 1,
        *,
        wallet: AbstractWallet | None = None,
        receiver: Any = None,
        meta: Mapping[str, Any] | None = None,
        quote: Quote | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Buy so many of a product: return the transfer to its wallet, or the withdrawal if it has none.

        The purchase is `record.purchase`; of a product that costs nothing the purchase itself is returned.
        See `pay_cart`.
        """
        cart = Cart(meta=meta or {}).with_item(product, quantity, receiver=receiver)
        purchase = cls.pay_cart(
            customer, cart, wallet=wallet, quote=quote, idempotency_key=idempotency_key
        )
        return _find_only_record(purchase)

    @classmethod
    def pay_free(
        cls,
        customer: Any,
        product: Any,
        quantity: int = 1,
        *,
        wallet: AbstractWallet | None = None,
        meta: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Purchase:
        """Give so many of a product to the customer for nothing: the purchase is recorded and no money moves.

        :raises ProductNotAvailable: the product says so
        """
        cart = Cart(meta=meta or {}).with_item(product, quantity)
        return _buy(
            Order(
                customer,
                wallet or customer.wallet,
                cart,
                is_free=True,
                idempotency_key=idempotency_key,
            ),
            sender=cls,
        )

    @classmethod
    def gift(
        cls,
        customer: Any,
        to_holder: Any,
        product: Any,
        quantity: int = 1,
        *,
        wallet: AbstractWallet | None = None,
        meta: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Buy a product for somebody else, who then has it; a refund returns to the giver. Returns what `pay` returns."""
        cart = Cart(meta=meta or {}).with_item(product, quantity)
        purchase = cls.pay_cart(
            customer, cart, wallet=wallet, recipient=to_holder, idempotency_key=idempotency_key
        )
        return _find_only_record(purchase)

    @classmethod
    def pay_cart(
        cls,
        customer: Any,
        cart: Cart,
        *,
        wallet: AbstractWallet | None = None,
        recipient: Any = None,
        quote: Quote | None = None,
        idempotency_key: str | None = None,
    ) -> Purchase:
        """Buy everything in the cart or nothing: one journal entry, one purchase. Idempotent with a key.

        :param wallet: pays; by default the customer's default wallet
        :param recipient: whom it is for, if not the customer
        :param quote: what the customer agreed to; if it costs something else now, nothing happens
        :raises ProductNotAvailable: a product says so
        :raises PriceChanged: it no longer costs what the quote says
        :raises AmountInvalid: a price, discount or fee that makes no sense
        :raises InsufficientFunds: the wallet holds less than the total
        :raises AssetMismatch: a receiver's wallet counts something else
        :raises WalletFrozen: a wallet is frozen
        :raises IdempotencyConflict: the key was used for something else
        """
        if not cart.items:
            raise MovementInvalid("The cart is empty.")

        def buy(payer: AbstractWallet) -> Purchase:
            order = Order(
                customer, payer, cart, recipient, quote=quote, idempotency_key=idempotency_key
            )
            return _buy(order, sender=cls)

        return buy(wallet) if wallet is not None else with_wallets(buy, customer)

    @classmethod
    def quote(
        cls,
        customer: Any,
        cart_or_product: Any,
        quantity: int = 1,
        *,
        wallet: AbstractWallet | None = None,
    ) -> Quote:
        """Return what it would cost now, line by line; changes nothing, except that a holder's first wallet is created."""
        cart = (
            cart_or_product
            if isinstance(cart_or_product, Cart)
            else Cart().with_item(cart_or_product, quantity)
        )
        return price_order(Order(customer, wallet or customer.wallet, cart))

    @classmethod
    def refund(
        cls,
        purchase: Purchase | PurchaseLine,
        reason: str = "",
        *,
        quantity: int | None = None,
        amount: Any = None,
        idempotency_key: str | None = None,
    ) -> list[Transfer | Transaction]:
        """Give back all that is left of a purchase, or of one line all, some units or an amount; return the records.

        :raises TransactionAlreadyProcessed: nothing is left to give back
        :raises RefundTooLarge: less is left
        :raises InsufficientFunds: a receiver does not hold it any more
        """
        if isinstance(purchase, PurchaseLine):
            return [
                refund_line(
                    purchase,
                    quantity=quantity,
                    amount=amount,
                    reason=reason,
                    idempotency_key=idempotency_key,
                    sender=cls,
                )
            ]
        if quantity is not None or amount is not None:
            raise MovementInvalid("Refund a part of a purchase line by line.")
        return _refund_lines(purchase, reason, idempotency_key, sender=cls)


def _find_only_record(purchase: Purchase) -> Any:
    (line,) = (
        purchase.lines.select_related("payment", "transfer")
        if purchase.replayed
        else purchase.bought
    )
    record = line.record
    if record is None:
        return purchase
    record.purchase = purchase
    record.replayed = purchase.replayed
    return record


# Buying


def _buy(order: Order, *, sender: type) -> Purchase:
    using = find_alias_of(order.wallet)
    if purchase := _buy_at_once(order, sender, using):
        return purchase

    def buy() -> Purchase:
        receivers = _lock_sides(order, using)
        if found := _find_replayed(order, using):
            return found
        _take_stock(order)
        return _write(order, price_agreed(order), receivers, sender, using)

    # A product that takes stock writes before the money moves, and so does a transfer service of the user's for the
    # items before: a refusal has to undo that too.
    writes = is_customised(get_transfer_service(), "transfer") or any(
        is_overridden(item.product, *RULES) for item in order.cart.items
    )
    return run_undoing(buy, sender=sender, using=using, always=writes)


def _buy_at_once(order: Order, sender: type, using: str) -> Purchase | None:
    """Buy what has prices and nothing else to say, in one statement; None, with nothing written, if it takes more.

    :raises PriceChanged: it no longer costs what the quote says
    """
    if (
        order.is_free
        or order.idempotency_key is not None
        or is_customised(get_transfer_service(), "transfer")
        or any(is_overridden(item.product, *ASKED_LOCKED) for item in order.cart.items)
    ):
        return None
    prices = price_agreed(order)
    sales = list_sales(order, prices, _find_receivers(order))
    return run_statement(lambda: _write_at_once(order, prices, sales, sender, using), using=using)


def _take_stock(order: Order) -> None:
    for item in order.cart.items:
        take = getattr(item.product, "take_stock", None) or getattr(item.product, "can_buy", None)
        if take is not None and not take(order.customer, item.quantity):
            raise ProductNotAvailable("Product is not available.")


def price_agreed(order: Order) -> Quote:
    """Return what it costs, which is what the customer agreed to if they were told.

    :raises PriceChanged: it no longer costs what the quote says
    """
    prices = price_order(order)
    if order.quote is not None and order.quote != prices:
        raise PriceChanged(f"It costs {prices.total} now, not {order.quote.total}.")
    return prices


def price_order(order: Order) -> Quote:
    """Return what the products say that it costs.

    :raises AmountInvalid: a price, discount or fee that makes no sense
    """
    return Quote(tuple(_price_item(item, order) for item in order.cart.items))


def _price_item(item: Item, order: Order) -> Line:
    product, customer = item.product, order.customer
    places = order.wallet.decimal_places
    name = str(product)[:MAX_NAME_LENGTH]
    if order.is_free:
        return price_line(name=name, quantity=item.quantity, unit_price=0, decimal_places=places)
    price = product.get_amount_product(customer) if item.unit_price is None else item.unit_price
    return price_line(
        name=name,
        quantity=item.quantity,
        unit_price=price,
        discount=_ask(product, "get_discount_product", customer, default=ZERO),
        fee=_ask(product, "get_fee_product", customer, default=None),
        decimal_places=places,
    )


def _ask(product: Any, method: str, *arguments: Any, default: Any) -> Any:
    """Ask a product that need not be a ProductMixin."""
    answer = getattr(product, method, None)
    return default if answer is None else answer(*arguments)


# Receivers


def _lock_sides(order: Order, using: str) -> list[Wallet | None]:
    """Lock the wallet that pays and those that get the money; return the latter.

    What a holder remembers may have been rolled back since: a receiver's wallet that is not there is asked for again.
    """
    receivers = _find_receivers(order)
    locked = lock_wallets([order.wallet, *(wallet for wallet in receivers if wallet)], using)
    if all(wallet is None or wallet.pk in locked for wallet in receivers):
        return receivers
    for holder in _pick_holders([find_receiver(item) for item in order.cart.items]):
        forget_wallets(holder)
    receivers = _find_receivers(order)
    lock_wallets([order.wallet, *(wallet for wallet in receivers if wallet)], using)
    return receivers


def _pick_holders(given: Sequence[Any]) -> list[models.Model]:
    """Return the receivers that are holders and not wallets."""
    return [
        one
        for one in given
        if isinstance(one, models.Model) and not isinstance(one, AbstractWallet)
    ]


def _find_receivers(order: Order) -> list[Wallet | None]:
    """Return the wallet that gets the money of each item, None for our own sales. One object for each wallet."""
    if order.is_free:
        return [None] * len(order.cart.items)
    given = [find_receiver(item) for item in order.cart.items]
    default = find_default_wallets(_pick_holders(given))
    same: dict[Any, Any] = {order.wallet.pk: order.wallet}
    receivers: list[Wallet | None] = []
    for one in given:
        wallet = default.get(id(one), one)
        receivers.append(None if wallet is None else same.setdefault(wallet.pk, wallet))
    return receivers


def find_receiver(item: Item) -> Any:
    """Return a wallet, a holder, or None."""
    if item.receiver is not None:
        return item.receiver
    named = _ask(item.product, "get_wallet_product", default=None)
    if named is not None:
        return named
    if isinstance(item.product, models.Model) and hasattr(type(item.product), "get_wallet"):
        return item.product
    return getattr(item.product, "wallet", None)


# Writing


def _write(
    order: Order, prices: Quote, receivers: Sequence[Wallet | None], sender: type, using: str
) -> Purchase:
    sales = list_sales(order, prices, receivers)
    if at_once := _write_at_once(order, prices, sales, sender, using):
        return at_once
    written = plan_purchase(order, prices, sales)
    purchase, rows, transactions, transfers, entry = written
    if entry is None:
        insert_in_order([purchase, *rows], using)
    else:
        post_records(
            entry,
            transactions,
            transfers,
            before=[purchase],
            after=rows,
            sender=sender,
            using=using,
        )
    purchase.bought = rows
    return purchase


def _write_at_once(
    order: Order, prices: Quote, sales: Sequence[Sale], sender: type, using: str
) -> Purchase | None:
    """Write a purchase in one statement; None, with nothing written, if it takes more."""
    purchase = _build_purchase(order, prices)
    entry = _build_entry(order, purchase, sales)
    if not entry.movements:
        return None
    is_one_sale = len(sales) == 1 and not sales[0].line.fee and order.idempotency_key is None
    is_written = (
        pay_at_once(
            purchase, order.wallet, sales[0], receiver_code=SALES, sender=sender, using=using
        )
        if is_one_sale
        else pay_cart_at_once(entry, purchase, order.wallet, sales, sender=sender, using=using)
    )
    return purchase if is_written else None


def list_sales(order: Order, prices: Quote, receivers: Sequence[Wallet | None]) -> list[Sale]:
    """Return what is to be sold, and to whose good."""
    return [
        Sale(item, line, receiver, _get_meta(order, item), find_product_key(item.product))
        for item, line, receiver in zip(order.cart.items, prices.lines, receivers, strict=True)
    ]


def plan_purchase(order: Order, prices: Quote, sales: Sequence[Sale]) -> Draft:
    """Return the records to write for an order at these prices. Only a transfer service of the user's writes already."""
    purchase = _build_purchase(order, prices)
    bought = _build_records(order, purchase, sales)
    if is_customised(get_transfer_service(), "transfer"):
        bought = [_transfer_by_service(order, one) for one in bought]
    transactions = [
        record
        for one in bought
        for record in (one.payment, one.deposit, one.fee_payment)
        if record is not None and record._state.adding
    ]
    transfers = [one.transfer for one in bought if one.transfer and one.transfer._state.adding]
    if not transactions:
        purchase.entry_id = next((one.payment.entry_id for one in bought if one.payment), None)
    moved = {at for at, one in enumerate(bought) if one.payment and not one.payment._state.adding}
    return Draft(
        purchase,
        [_build_line(purchase, one) for one in bought],
        transactions,
        transfers,
        _build_entry(order, purchase, sales, moved) if transactions else None,
    )


def _transfer_by_service(order: Order, bought: Bought) -> Bought:
    """Let a transfer service of the user's make the transfer, if it is one between default wallets."""
    transfer, line = bought.transfer, bought.sale.line
    if transfer is None or {order.wallet.slug, transfer.deposit.wallet.slug} != {DEFAULT_SLUG}:
        return bought
    with part_of(order.wallet, Entry(Kind.PURCHASE, ())):
        made = get_transfer_service().transfer(
            order.customer,
            transfer.deposit.wallet.holder,
            line.net,
            meta=bought.sale.meta,
            status=transfer.status,
        )
    made.fee, made.discount = line.fee, line.discount
    made.save(update_fields=["fee", "discount"])
    return bought._replace(transfer=made, payment=made.withdraw, deposit=made.deposit)


def _get_meta(order: Order, item: Item) -> dict[str, Any]:
    return {**_ask(item.product, "get_meta_product", default={}), **order.cart.meta}


def _build_purchase(order: Order, prices: Quote) -> Purchase:
    customer, recipient = order.customer, order.recipient
    related = {"customer": customer, "wallet": order.wallet}
    if recipient is not None:
        related["recipient"] = recipient
    return build_record(
        Purchase,
        {
            "customer_type_id": find_type_of(customer),
            "customer_id": customer.pk,
            "recipient_type_id": find_type_of(recipient),
            "recipient_id": None if recipient is None else recipient.pk,
            "wallet_id": order.wallet.pk,
            "total": prices.total,
            "fee": prices.fee,
            "discount": prices.discount,
            "idempotency_key": order.idempotency_key,
            # Who repeats a call has given it a key.
            "fingerprint": "" if order.idempotency_key is None else fingerprint(order),
            "meta": dict(order.cart.meta),
        },
        related,
    )


def find_type_of(thing: models.Model | None) -> int | None:
    """Return the key of the content type of an instance, None for none."""
    return None if thing is None else find_type(thing.__class__, thing._state.db)


def _build_records(order: Order, purchase: Purchase, sales: Sequence[Sale]) -> list[Bought]:
    numbers, wallet_type = make_numbers(sales), find_type_of(order.wallet)
    transactions = [
        build_transaction(
            side.wallet,
            side.type,
            side.amount,
            meta=side.meta,
            # Wallets of a project's own model are of one type, too: that of the setting.
            wallet_type=wallet_type,
            uuid=UUID(int=number),
        )
        for side, number in zip(list_sides(order.wallet, sales), numbers.transactions, strict=True)
    ]
    bought = []
    for sale, places in zip(sales, list_places(sales), strict=True):
        payment, deposit, fee_payment = (
            None if at is None else transactions[at - 1] for at in places[:3]
        )
        transfer = None
        if payment and deposit and places.transfer:
            transfer = build_transfer(
                *(payment, deposit),
                status=get_status(purchase),
                fee=sale.line.fee,
                discount=sale.line.discount,
                uuid=UUID(int=numbers.transfers[places.transfer - 1]),
            )
        bought.append(Bought(sale, payment, deposit, fee_payment, transfer))
    return bought


def _build_line(purchase: Purchase, bought: Bought) -> PurchaseLine:
    sale, payment, _, fee_payment, transfer = bought
    return build_record(
        PurchaseLine, *describe_line(sale, purchase, payment, fee_payment, transfer)
    )


def _build_entry(
    order: Order, purchase: Purchase, sales: Sequence[Sale], moved: Container[int] = ()
) -> Entry:
    """Return what moves, which is nothing if all is free.

    :param moved: the positions of sales whose net amount has been moved already
    """
    payer, asset = order.wallet.pk, order.wallet.asset_id
    movements = []
    for at, (_, line, receiver, *_) in enumerate(sales):
        if line.net and at not in moved:
            destination = SALES if receiver is None else receiver.pk
            movements.append(Movement(payer, destination, line.net, asset))
        if line.fee:
            movements.append(Movement(payer, FEES, line.fee, asset))
    return Entry(
        Kind.PURCHASE,
        tuple(movements),
        order.idempotency_key,
        reference_type="purchase",
        reference_id=str(purchase.uuid),
    )


# Repeated calls


def fingerprint(order: Order) -> str:
    """Return 32 hex digits that change with what is bought, by whom, for whom and out of which wallet."""
    items = [
        [
            _identify(item.product),
            item.quantity,
            _identify(item.receiver),
            None if item.unit_price is None else str(item.unit_price),
        ]
        for item in order.cart.items
    ]
    content = [
        _identify(order.customer),
        _identify(order.recipient),
        order.wallet.pk,
        order.is_free,
        items,
    ]
    return blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _identify(thing: Any) -> str:
    if isinstance(thing, models.Model):
        return f"{thing._meta.label}:{thing.pk}"
    return "" if thing is None else str(thing)


def _find_replayed(order: Order, using: str) -> Purchase | None:
    if order.idempotency_key is None:
        return None
    found = Purchase.objects.using(using).filter(idempotency_key=order.idempotency_key).first()
    if found is None:
        return None
    if found.fingerprint != fingerprint(order):
        raise refuse_other_use(order.idempotency_key)
    found.replayed = True
    return found


# Giving back


def _refund_lines(
    purchase: Purchase, reason: str, idempotency_key: str | None, *, sender: type
) -> list[Transfer | Transaction]:
    using = purchase._state.db or DEFAULT_DB_ALIAS

    def refund() -> list[Transfer | Transaction]:
        lines = _lock_lines(purchase, using)
        is_open = [
            idempotency_key is not None or line.amounts.refundable > line.refunded_amount
            for line in lines
        ]
        if not any(is_open):
            raise TransactionAlreadyProcessed("Purchase has already been refunded.")
        return [
            refund_line(
                line,
                reason=reason,
                idempotency_key=idempotency_key and f"{idempotency_key}:{line.pk}",
                sender=sender,
            )
            for line in compress(lines, is_open)
        ]

    return run_undoing(refund, sender=sender, using=using)


def _lock_lines(purchase: Purchase, using: str) -> list[PurchaseLine]:
    """Lock all payments of the purchase before any wallet, in one order, and return the lines that cost something."""
    start_writing(using)
    lines = PurchaseLine.objects.using(using).filter(purchase=purchase, payment__isnull=False)
    keys = lines.order_by("pk").values_list("transfer_id", "payment_id")
    lock_payments(
        [transfer for transfer, _ in keys if transfer],
        [own for transfer, own in keys if not transfer],
        using,
    )
    return list(lines.order_by("pk"))
