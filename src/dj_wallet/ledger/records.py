"""Rows that describe an entry to its holder, written in the transaction that posts it.

What the ORM's `bulk_create` does, with statements that are compiled once: compiling is half of the Python time of a
transfer. On PostgreSQL many rows travel as one array for each column: a statement that stays the same however many
they are, which psycopg reads and the server plans once.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from .fields import MoneyField
from .post import post_one
from .statement import execute
from .store.postgres import to_array, to_text_array

if TYPE_CHECKING:
    Field = models.Field[Any, Any]
else:
    Field = models.Field

M = TypeVar("M", bound=models.Model)

# The one field whose value is only known once the entry is posted.
ENTRY_FIELD: Final = "entry_id"

# PostgreSQL counts the parameters of a statement in 16 bits.
MAX_PARAMETERS: Final = 65535
# Rows that one statement of arrays takes: enough to make its fixed cost small, few enough for the memory.
MAX_ARRAY: Final = 10_000


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


# The type of an array's elements by the kind of a field.
ARRAY_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        [
            f"{size}{kind}Field"
            for kind in ("Integer", "Auto")
            for size in ("Small", "", "Big", "PositiveSmall", "Positive", "PositiveBig")
        ],
        "bigint",
    ),
    "BooleanField": "boolean",
    "UUIDField": "uuid",
    "DecimalField": "numeric",
    **dict.fromkeys(("CharField", "SlugField", "TextField"), "text"),
}
# Fields whose attribute is written into an array as it is.
PLAIN_IN_ARRAYS: Final = (*PLAIN_FIELDS, models.PositiveIntegerField, MoneyField)


class Column(NamedTuple):
    """A column with the function that makes its database value of a record; `is_now` for automatic timestamps."""

    name: str
    prepare: Callable[[Any], Any]
    is_now: bool
    # Where a plain value is kept; "" if what is written may differ from it.
    plain: str


class ArrayColumn(NamedTuple):
    """A column that travels as an array: how its values are found in a record and written."""

    find: Callable[[Any], Any]
    write: Callable[[Sequence[Any]], str]


class InsertPlan(NamedTuple):
    """How the rows of a model are inserted: its columns but for the key that the database makes."""

    head: str
    tail: str
    columns: tuple[Column, ...]
    relations: "tuple[models.ForeignKey[Any, Any], ...]"
    # The same rows from arrays; None for a model with a column that no array carries.
    arrays: tuple[ArrayColumn, ...] | None
    from_arrays: str
    # The timestamps that we set.
    automatic: tuple[str, ...]


def post_with_records(entry: Entry, records: Sequence[models.Model], *, using: str) -> Posted:
    """Post one entry and insert its records, which may refer to each other in order; needs an open transaction.

    Records of one model that follow each other are inserted together. Nothing is inserted for a replay.

    :raises WalletException: the entry was refused and nothing moved
    :raises IntegrityError: a unique key of a record is taken
    """
    posted = post_one(entry, using=using)
    if not posted.replayed:
        for record in records:
            if ENTRY_FIELD in record.__dict__:
                record.__dict__[ENTRY_FIELD] = posted.entry_id
        insert_in_order(records, using)
    return posted


def insert_in_order(records: Sequence[models.Model], using: str) -> None:
    """Insert new records, which may refer to those before them; those of one model that follow each other together.

    :raises IntegrityError: a unique key is taken
    """
    for model, group in groupby(records, type):
        alike = list(group)
        relations = _plan_insert(model, using).relations
        for record in alike:
            _refresh_keys(record, relations)
        insert_records(alike, using)


def build_record(model: type[M], values: Mapping[str, Any], related: Mapping[str, Any]) -> M:
    """Return the unsaved instance that `model(**values, **related)` makes, in a third of its time.

    :param values: by attribute name (`wallet_id`, not `wallet`); the rest gets the defaults of the fields
    :param related: instances, by field name; their keys are among the values or not known yet
    """
    if (
        model.__init__ is not models.Model.__init__
        or (pre_init.receivers and pre_init.has_listeners(model))
        or (post_init.receivers and post_init.has_listeners(model))
    ):
        return model(**values, **related)
    record = model.__new__(model)
    fixed, made = _list_defaults(model)
    attributes = record.__dict__
    attributes.update(fixed)
    attributes.update(values)
    for name, make in made:
        if name not in values:
            attributes[name] = make()
    state = record._state = ModelState()
    state.fields_cache = dict(related)
    return record


@cache
def _list_defaults(
    model: type[models.Model],
) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """Return the defaults that are values, and the functions that make the others."""
    fields = model._meta.concrete_fields
    made = [
        (str(field.attname), field.get_default)
        for field in fields
        if field.has_default() and callable(field.default)
    ]
    names = {name for name, _ in made}
    fixed = {
        str(field.attname): field.get_default() for field in fields if field.attname not in names
    }
    return fixed, made


def list_fixed_defaults(model: type[models.Model]) -> Mapping[str, Any]:
    """Return the values by attribute name that every new instance starts with, but for those that a function makes."""
    return _list_defaults(model)[0]


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
    if len(records) > 1 and plan.arrays is not None:
        for first in range(0, len(records), MAX_ARRAY):
            _insert_arrays(records[first : first + MAX_ARRAY], plan, using)
        return
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
    statement = plan.head + " VALUES " + ", ".join(rows) + plan.tail
    keys = execute(statement, parameters, using).fetchall()
    for record, (key,) in zip(records, keys, strict=True):
        _mark_saved(record, plan, key, now, using)


def _insert_arrays(records: Sequence[models.Model], plan: InsertPlan, using: str) -> None:
    now = timezone.now()
    arrays = [
        column.write([column.find(record) for record in records]) for column in plan.arrays or ()
    ]
    parameters: list[datetime | str] = [*[now] * len(plan.automatic), *arrays]
    keys = execute(plan.from_arrays, parameters, using).fetchall()
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
        bool(model._meta.parents)
        or bool(pre_save.receivers and pre_save.has_listeners(model))
        or bool(post_save.receivers and post_save.has_listeners(model))
    )


def _refresh_keys(record: models.Model, relations: "Sequence[models.ForeignKey[Any, Any]]") -> None:
    """Copy the keys of related records that were inserted meanwhile."""
    related, values = record._state.fields_cache, record.__dict__
    for field in relations:
        other = related.get(field.name)
        if other is not None:
            values[field.attname] = getattr(other, field.target_field.attname)


def _mark_saved(
    record: models.Model, plan: InsertPlan, key: Any, now: datetime, using: str
) -> None:
    record.pk = key
    for name in plan.automatic:
        record.__dict__[name] = now
    record._state.adding = False
    record._state.db = using


@cache
def _plan_insert(model: type[models.Model], using: str) -> InsertPlan:
    connection = connections[using]
    quote = connection.ops.quote_name
    fields = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    columns = tuple(_plan_column(field, connection) for field in fields)
    head = f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(quote(str(field.column)) for field in fields)})"
    tail = f" RETURNING {quote(str(model._meta.pk.column))}"
    arrays, select = _plan_arrays(fields, columns, connection)
    return InsertPlan(
        head=head,
        tail=tail,
        columns=columns,
        relations=tuple(field for field in fields if isinstance(field, models.ForeignKey)),
        arrays=arrays,
        from_arrays=f"{head} {select}{tail}",
        automatic=tuple(column.name for column in columns if column.is_now),
    )


def _plan_column(field: Field, connection: BaseDatabaseWrapper) -> Column:
    is_now = isinstance(field, models.DateTimeField) and (field.auto_now or field.auto_now_add)
    return Column(
        str(field.name),
        _make_preparer(field, connection),
        is_now,
        field.attname if isinstance(field, LITERAL_FIELDS) else "",
    )


def _make_preparer(field: Field, connection: BaseDatabaseWrapper) -> Callable[[Any], Any]:
    is_plain = type(field) in PLAIN_FIELDS or isinstance(field, models.ForeignKey)
    if connection.vendor == "postgresql" and is_plain:
        return attrgetter(field.attname)
    return lambda record: field.get_db_prep_save(field.pre_save(record, add=True), connection)


# Rows as arrays, one for each column


def _plan_arrays(
    fields: Sequence[Field], columns: Sequence[Column], connection: BaseDatabaseWrapper
) -> tuple[tuple[ArrayColumn, ...] | None, str]:
    """Return how each column travels, and the SELECT that makes rows of the arrays; None if one cannot.

    The timestamps that we set are its first parameters.
    """
    arrays: list[ArrayColumn] = []
    chosen, types, names = [], [], []
    for number, (field, column) in enumerate(zip(fields, columns, strict=True)):
        if column.is_now:
            chosen.append("%s::timestamptz")
            continue
        type_ = _find_array_type(field)
        if connection.vendor != "postgresql" or type_ is None:
            return None, ""
        names.append(f"c{number}")
        types.append(f"%s::{'text' if type_ == 'jsonb' else type_}[]")
        chosen.append(f"c{number}::jsonb" if type_ == "jsonb" else f"c{number}")
        arrays.append(_plan_array(field, type_, column))
    rows = f"unnest({', '.join(types)}) AS r ({', '.join(names)})"
    return tuple(arrays), f"SELECT {', '.join(chosen)} FROM {rows}"


def _find_array_type(field: Field) -> str | None:
    """Return the type of the elements, wide enough for what the column refuses: a cast would cut it to size."""
    if isinstance(field, models.ForeignKey):
        return _find_array_type(field.target_field)
    if isinstance(field, models.JSONField):
        return "jsonb" if type(field) is models.JSONField else None
    return ARRAY_TYPES.get(field.get_internal_type())


def _plan_array(field: Field, type_: str, column: Column) -> ArrayColumn:
    name = field.attname
    is_plain = type(field) in PLAIN_IN_ARRAYS or isinstance(field, models.ForeignKey)

    def find(record: models.Model) -> Any:
        return record.__dict__[name]

    if isinstance(field, models.JSONField):
        encoder = field.encoder
        return ArrayColumn(find, lambda values: to_text_array(write_json(values, encoder)))
    return ArrayColumn(find if is_plain else column.prepare, ARRAY_WRITERS[type_])


def write_json(values: Iterable[Any], encoder: Any = None) -> list[str | None]:
    """Return the JSON of each value; SQL's NULL for None."""
    return [
        None if value is None else "{}" if value == {} else json.dumps(value, cls=encoder)
        for value in values
    ]


def _write_texts(values: Sequence[Any]) -> str:
    return to_text_array([None if value is None else str(value) for value in values])


ARRAY_WRITERS: Final[Mapping[str, Callable[[Sequence[Any]], str]]] = {
    "bigint": to_array,
    "boolean": to_array,
    "uuid": to_array,
    "numeric": to_array,
    "text": _write_texts,
}
