"""What a request needs of Redis, asked with one question: who is asking, may they ask now, and what do they want to see?

A question takes longer than all that is done with its answer. Who is asking is known before it, if this process met them:
then what it knew is sent along, the request is counted only if that is still what Redis has, and what the view is going
to read comes in the same answer. Otherwise each question is asked in its place. ADR 0040.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from django.conf import settings
from rest_framework.request import Request

from dj_wallet.identity.access import Credential, reads_all
from dj_wallet.identity.kept import FORM, recall
from dj_wallet.identity.models import User
from dj_wallet.leases import (
    NOTHING,
    PREFIX,
    READ_ENTRY,
    Cache,
    Found,
    LeaseCache,
    Listed,
    get_cache,
    make_lease,
    make_listed,
    name_start,
    pair,
)
from dj_wallet.redis_line import Script

from .limits import BUCKET_START, TAKE_ONE, WINDOW_MILLISECONDS, name_buckets, read_verdict

T = TypeVar("T")

# KEYS: the entry of who is asking, the buckets, the entry that the view wants if any.
# ARGV: form, lease and its time; what the entry is known to be; window, limit, number of buckets; the form that is wanted,
# and for a pointer how the entries that it lists begin.
# Returns: whether the entry is what it was known to be, it and its lease, the verdict, what the view wants.
ASK: Final = Script(f"""{READ_ENTRY}{TAKE_ONE}
local mine, wanted, verdict, buckets, limits = {{}}, {{}}, false, {{}}, {{}}
for at = 1, tonumber(ARGV[7]) do
  buckets[at], limits[at] = KEYS[at + 1], tonumber(ARGV[6])
end
local is_known = read(mine, KEYS[1], ARGV[1], ARGV[2], ARGV[3]) == ARGV[4]
if is_known then
  mine[1] = false
  if #buckets > 0 then verdict = take(buckets, tonumber(ARGV[5]), limits) end
end
local last = KEYS[#buckets + 2]
if last and ARGV[9] ~= '' then
  read_listed(wanted, last, ARGV[9], ARGV[8], ARGV[2], ARGV[3])
elseif last then
  read(wanted, last, ARGV[8], ARGV[2], ARGV[3])
end
return {{is_known and 1 or 0, mine, verdict, wanted}}
""")


class Wish(NamedTuple):
    """What a view is going to read: an entry in a form, or the entries of a kind that a pointer lists."""

    name: str
    facet: str
    kind: str = ""


class Ahead:
    """The cache, of which some was read already."""

    def __init__(self, cache: LeaseCache) -> None:
        self._cache = cache
        self._read: dict[Wish, list[Found]] = {}

    def keep(self, wish: Wish, founds: list[Found]) -> None:
        """Answer the wish with this, once."""
        self._read[wish] = founds

    def read(self, names: Sequence[str], facet: str) -> list[Found]:
        known = self._read.pop(Wish(names[0], facet), None) if len(names) == 1 else None
        return self._cache.read(names, facet) if known is None else known

    def read_listed(self, pointer: str, kind: str, facet: str) -> Listed:
        known = self._read.pop(Wish(pointer, facet, kind), None)
        return (
            self._cache.read_listed(pointer, kind, facet) if known is None else make_listed(known)
        )

    def fill(self, facet: str, values: Iterable[tuple[str, Found, bytes]]) -> None:
        self._cache.fill(facet, values)


def look_up(
    request: Request,
    entry: str,
    find: Callable[[Cache | None], T | None],
    accept: Callable[[T], tuple[User, Credential] | None],
) -> T | None:
    """Return what `find` finds out about who is asking.

    :param entry: the entry that it looks at
    :param accept: says whose the request is and by what, or None if it is to be refused: it is not counted then
    """
    cache = get_cache()
    last = None if cache is None else recall(entry)
    if cache is None or last is None:
        return find(cache)
    before = Ahead(cache)
    before.keep(Wish(entry, FORM), [Found(last, None)])
    known = find(before)
    caller = None if known is None else accept(known)
    if caller is None:
        return find(cache)
    ahead = Ahead(cache)
    is_as_known = _ask(ahead, cache, request, entry, last, caller)
    request.ahead = ahead  # type: ignore[attr-defined]
    return known if is_as_known else find(ahead)


def find_cache(request: Request, user: User) -> Cache | None:
    """Return the cache that the user is answered from, if any: staff, who see everybody's wallets, are not."""
    if reads_all(user):
        return None
    ahead: Ahead | None = request.__dict__.get("ahead")
    return ahead or get_cache()


def _ask(
    ahead: Ahead,
    cache: LeaseCache,
    request: Request,
    entry: str,
    last: bytes,
    caller: tuple[User, Credential],
) -> bool:
    """Read ahead; tell whether the entry is what it was."""
    limit = settings.API_REQUESTS_PER_MINUTE
    buckets = [BUCKET_START + name for name in name_buckets(*caller)] if limit else []
    wish = _find_wish(request, caller[0])
    keys = [PREFIX + entry, *buckets]
    arguments: list[Any] = [FORM, *make_lease(), last, WINDOW_MILLISECONDS, limit, len(buckets)]
    if wish is not None:
        keys.append(PREFIX + wish.name)
        arguments += [wish.facet, name_start(wish.kind) if wish.kind else ""]
    answer = cache.run(ASK, keys, arguments)
    if not answer:
        ahead.keep(Wish(entry, FORM), [NOTHING])
        return False
    is_known, mine, verdict, wanted = answer
    if wish is not None:
        ahead.keep(wish, pair(wanted))
    if is_known:
        request.verdict = None if verdict is None else read_verdict(verdict)  # type: ignore[attr-defined]
        return True
    ahead.keep(Wish(entry, FORM), pair(mine))
    return False


def _find_wish(request: Request, user: User) -> Wish | None:
    foresee = getattr(request.parser_context.get("view"), "foresee", None)
    wish: Wish | None = None if foresee is None or reads_all(user) else foresee(request, user)
    return wish
