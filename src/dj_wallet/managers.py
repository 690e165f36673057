"""Managers of wallets and transactions."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from django.db import connections, models

from .holders import find_type
from .ledger.statement import execute

if TYPE_CHECKING:
    from .abstract_models import AbstractTransaction, AbstractWallet

W = TypeVar("W", bound="AbstractWallet")
T = TypeVar("T", bound="AbstractTransaction")


_PLAIN_QUERYSET: Final = models.Manager.get_queryset
# What stands for the parameters of a lookup while it is compiled.
_ANY_TYPE: Final = -1
_ANY_HOLDER: Final = "?holder"
_ANY_SLUG: Final = "?slug"


class Lookup(NamedTuple):
    """The query for a holder's wallet of a slug, compiled once: compiling takes three times as long as asking."""

    sql: str
    # The order in which the statement wants holder type, holder key and slug.
    order: tuple[int, ...]
    names: tuple[str, ...]
    converters: tuple[tuple[int, Sequence[Callable[..., Any]], Any], ...]


class WalletManager(models.Manager[W]):
    """Finds wallets by their holder."""

    def held_by(self, holder: models.Model) -> models.QuerySet[W]:
        """Return the wallets of a saved model instance."""
        return self.filter(holder_type_id=find_type(holder.__class__, self.db), holder_id=holder.pk)

    def get_wallet(
        self, holder: models.Model, slug: str = "default", lock: bool = False
    ) -> W | None:
        """Return the holder's wallet of that slug or None; `lock` takes its row until the transaction ends."""
        if not lock and holder.pk is not None and type(self).get_queryset is _PLAIN_QUERYSET:
            return self._look_up(holder, slug)
        wallets = self.held_by(holder).filter(slug=slug)
        return (wallets.select_for_update() if lock else wallets).first()

    def _look_up(self, holder: models.Model, slug: str) -> W | None:
        using = self.db
        lookup = _compile_lookup(self.model, using)
        wanted = find_type(holder.__class__, using), str(holder.pk), slug
        row = execute(lookup.sql, [wanted[at] for at in lookup.order], using).fetchone()
        if row is None:
            return None
        connection = connections[using]
        values = list(row)
        for at, converters, expression in lookup.converters:
            for convert in converters:
                values[at] = convert(values[at], expression, connection)
        return self.model.from_db(using, lookup.names, values)

    def get_or_create_wallet(
        self, holder: models.Model, slug: str = "default", **defaults: Any
    ) -> tuple[W, bool]:
        """Return the holder's wallet of that slug, created if necessary, and whether it was."""
        holder_type = find_type(holder.__class__, self.db)
        return self.get_or_create(
            holder_type_id=holder_type, holder_id=holder.pk, slug=slug, defaults=defaults
        )


@cache
def _compile_lookup(model: type[models.Model], using: str) -> Lookup:
    wallets = model._base_manager.using(using).filter(
        holder_type=_ANY_TYPE, holder_id=_ANY_HOLDER, slug=_ANY_SLUG
    )
    compiler = wallets.query.get_compiler(using)
    sql, parameters = compiler.as_sql()
    columns = [column for column, _, _ in compiler.select]
    return Lookup(
        sql,
        tuple((_ANY_TYPE, _ANY_HOLDER, _ANY_SLUG).index(one) for one in parameters),
        tuple(column.target.attname for column in columns),
        tuple(
            (at, tuple(converters), expression)
            for at, (converters, expression) in compiler.get_converters(columns).items()
        ),
    )


class TransactionManager(models.Manager[T]):
    """The default manager of transactions."""
