"""Rows that describe an entry to its holder, written in the transaction that posts it.

What the ORM's `bulk_create` does, with statements that are compiled once: compiling is half of the Python time of a
transfer.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.base import ModelState
from django.db.models.signals import post_init, post_save, pre_init, pre_save
from django.utils import timezone

from .engine import Entry, Posted
from .post import post_one

if TYPE_CHECKING:
    Field = models.Field[Any, Any]
else:
    Field = models.Field

M = TypeVar("M", bound=models.Model)

# The one field whose value is only known once the entry is posted.
ENTRY_FIELD: Final = "entry_id"

# PostgreSQL counts the parameters of a statement in 16 bits.
MAX_PARAMETERS: Final = 65535


# Fields whose attribute psycopg takes as it is. Anything else goes through the field's own conversion.
PLAIN_FIELDS: Final = (
    models.CharField,
    models.BooleanField,
    models.BigIntegerField,
    models.UUIDField,
)


# Fields that write nothing, false and zero as they are.
LITERAL_FIELDS: Final = (
    models.CharField,
    models.BooleanField,
    models.BigIntegerField,
    models.DecimalField,
    models.ForeignKey,
)


class Column(NamedTuple):
    """A column with the function that makes its database value of a record; `is_now` for automatic timestamps."""

    name: str
    prepare: Callable[[Any], Any]
    is_now: bool
    # Where a plain value is kept; "" if what is written may differ from it.
    plain: str


class InsertPlan(NamedTuple):
    """How the rows of a model are inserted: its columns but for the key that the database makes."""

    head: str
    tail: str
    columns: tuple[Column, ...]
    relations: "tuple[models.ForeignKey[Any, Any], ...]"


def post_with_records(entry: Entry, records: Sequence[models.Model], *, using: str) -> Posted:
    """Post one entry and insert its records, which may refer to each other in order; needs an open transaction.

    Records of one model that follow each other are inserted together. Nothing is inserted for a replay.

    :raises WalletException: the entry was refused and nothing moved
    :raises IntegrityError: a unique key of a record is taken
    """
    posted = post_one(entry, using=using)
    if not posted.replayed:
        for model, group in groupby(records, type):
            alike = list(group)
            for record in alike:
                setattr(record, ENTRY_FIELD, posted.entry_id)
                _refresh_keys(record, _plan_insert(model, using))
            insert_records(alike, using)
    return posted


def build_record(model: type[M], values: Mapping[str, Any], related: Mapping[str, Any]) -> M:
    """Return the unsaved instance that `model(**values, **related)` makes, in a third of its time.

    :param values: by attribute name (`wallet_id`, not `wallet`); the rest gets the defaults of the fields
    :param related: instances, by field name; their keys are among the values or not known yet
    """
    if (
        model.__init__ is not models.Model.__init__
        or pre_init.has_listeners(model)
        or post_init.has_listeners(model)
    ):
        return model(**values, **related)
    record = model.__new__(model)
    attributes = {
        name: values[name] if name in values else get_default()
        for name, get_default in _list_defaults(model)
    }
    record.__dict__.update(attributes)
    state = record._state = ModelState()
    state.fields_cache = dict(related)
    return record


@cache
def _list_defaults(model: type[models.Model]) -> list[tuple[str, Callable[[], Any]]]:
    return [(str(field.attname), field.get_default) for field in model._meta.concrete_fields]


def insert_records(records: Sequence[models.Model], using: str) -> None:
    """Insert new records of one model and give them their keys; sends the same signals as `save`.

    :raises IntegrityError: a unique key is taken
    """
    if not records:
        return
    model = type(records[0])
    if (
        is_plain_save_needed(model)
        or not connections[using].features.can_return_rows_from_bulk_insert
    ):
        for record in records:
            record.save(using=using, force_insert=True)
        return
    plan = _plan_insert(model, using)
    limit = connections[using].features.max_query_params or MAX_PARAMETERS
    size = max(1, limit // len(plan.columns))
    for first in range(0, len(records), size):
        _insert_at_once(records[first : first + size], plan, using)


def _insert_at_once(records: Sequence[models.Model], plan: InsertPlan, using: str) -> None:
    now = timezone.now()
    rows, parameters = [], []
    for record in records:
        literals = _find_literals(record, plan)
        rows.append(f"({', '.join([literal or '%s' for literal in literals])})")
        parameters += [
            now if column.is_now else column.prepare(record)
            for column, literal in zip(plan.columns, literals, strict=True)
            if literal is None
        ]
    with connections[using].cursor() as cursor:
        cursor.execute(plan.head + " VALUES " + ", ".join(rows) + plan.tail, parameters)
        keys = cursor.fetchall()
    for record, (key,) in zip(records, keys, strict=True):
        _mark_saved(record, plan, key, now, using)


def _find_literals(record: models.Model, plan: InsertPlan) -> tuple[str | None, ...]:
    """Return the SQL of values that are written out: nothing, true, false and zero, which half of the columns hold.

    psycopg reads a statement again each time it has more than 50 parameters or 4,096 characters.
    """
    values = record.__dict__
    return tuple(
        [
            _LITERALS.get((type(value), value))
            if column.plain and not (value := values.get(column.plain, _UNKNOWN))
            else None
            for column in plan.columns
        ]
    )


_UNKNOWN: Final = object()
_LITERALS: Final[Mapping[tuple[type, Any], str]] = {
    (type(None), None): "NULL",
    (bool, False): "false",
    (Decimal, Decimal(0)): "0",
}


def is_plain_save_needed(model: type[models.Model]) -> bool:
    """Tell whether somebody wants to see each save, or the model spans several tables."""
    return (
        bool(model._meta.parents) or pre_save.has_listeners(model) or post_save.has_listeners(model)
    )


def _refresh_keys(record: models.Model, plan: InsertPlan) -> None:
    """Copy the keys of related records that were inserted meanwhile."""
    for field in plan.relations:
        if field.is_cached(record):
            setattr(record, field.name, field.get_cached_value(record))


def _mark_saved(
    record: models.Model, plan: InsertPlan, key: Any, now: datetime, using: str
) -> None:
    record.pk = key
    for column in plan.columns:
        if column.is_now:
            record.__dict__[column.name] = now
    record._state.adding = False
    record._state.db = using


@cache
def _plan_insert(model: type[models.Model], using: str) -> InsertPlan:
    connection = connections[using]
    quote = connection.ops.quote_name
    fields = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    return InsertPlan(
        head=f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(quote(str(field.column)) for field in fields)})",
        tail=f" RETURNING {quote(str(model._meta.pk.column))}",
        columns=tuple(
            Column(
                str(field.name),
                _make_preparer(field, connection),
                isinstance(field, models.DateTimeField) and (field.auto_now or field.auto_now_add),
                field.attname if isinstance(field, LITERAL_FIELDS) else "",
            )
            for field in fields
        ),
        relations=tuple(field for field in fields if isinstance(field, models.ForeignKey)),
    )


def _make_preparer(field: Field, connection: BaseDatabaseWrapper) -> Callable[[Any], Any]:
    is_plain = type(field) in PLAIN_FIELDS or isinstance(field, models.ForeignKey)
    if connection.vendor == "postgresql" and is_plain:
        return attrgetter(field.attname)
    return lambda record: field.get_db_prep_save(field.pre_save(record, add=True), connection)
