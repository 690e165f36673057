"""What somebody is about to buy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .pricing import check_quantity


class Item(NamedTuple):
    """A product and how many of it.

    :param receiver: the wallet, or the holder whose default wallet, gets the money; by default the product says
    :param unit_price: by default the product says
    """

    product: Any
    quantity: int = 1
    receiver: Any = None
    unit_price: Any = None


@dataclass(frozen=True)
class Cart:
    """Products to be paid for together; immutable, each `with_` returns another cart.

    :param meta: for the records, beside that of the products
    """

    items: tuple[Item, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def with_item(
        self, product: Any, quantity: int = 1, *, receiver: Any = None, unit_price: Any = None
    ) -> "Cart":
        """Return this cart and so many of a product.

        :raises AmountInvalid: the quantity is not a positive whole number
        """
        check_quantity(quantity)
        return replace(self, items=(*self.items, Item(product, quantity, receiver, unit_price)))

    def with_items(self, products: Iterable[Any]) -> "Cart":
        """Return this cart and one of each of the products."""
        return replace(self, items=(*self.items, *(Item(product) for product in products)))

    def with_meta(self, **meta: Any) -> "Cart":
        """Return this cart with more meta."""
        return replace(self, meta={**self.meta, **meta})

    @property
    def quantity(self) -> int:
        """How many units it holds."""
        return sum(item.quantity for item in self.items)
