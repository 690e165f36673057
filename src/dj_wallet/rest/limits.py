"""How many requests a caller may make: a bucket for each user and one for each credential, kept in Redis.

The buckets follow the generic cell rate algorithm: one number each, the time at which the bucket would be full again.
Redis' clock counts. Without Redis nobody is refused: an API that moves money is worth more than its limits.

The headers are those of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/.
"""

import logging
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple, cast

import redis
from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.identity.access import Credential
from dj_wallet.identity.models import User
from dj_wallet.redis_line import RedisLine, Script

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60
WINDOW_MILLISECONDS: Final = WINDOW_SECONDS * 1000
BUCKET_START: Final = "dj_wallet:rate:"
# After a failure Redis is left alone for a moment, so that each request does not wait for it.
PAUSE_SECONDS: Final = 5

# Takes one request from every bucket, or from none. A bucket is full again at the time that its key holds; a request
# moves that time by one interval, and is refused if it would be more than a window ahead.
# Returns: 1 or 0, how many requests the emptiest bucket has left, milliseconds until one more fits, until it is full.
TAKE_ONE: Final = """
local function take(keys, window, limits)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + clock[2] / 1000
  local left, wait, full = nil, 0, 0
  local times = {}
  for at, key in ipairs(keys) do
    local interval = window / limits[at]
    local time = math.max(tonumber(redis.call('GET', key) or now), now) + interval
    times[at] = time
    wait = math.max(wait, time - now - window)
    full = math.max(full, time - now)
    local fits = math.floor((window - (time - now)) / interval)
    if left == nil or fits < left then left = fits end
  end
  if wait > 0 then return {0, 0, math.ceil(wait), math.ceil(full)} end
  for at, key in ipairs(keys) do
    local lives = math.max(1, math.ceil(times[at] - now))
    redis.call('SET', key, string.format('%.3f', times[at]), 'PX', lives)
  end
  return {1, left, 0, math.ceil(full)}
end
"""
TAKE: Final = Script(f"""{TAKE_ONE}
local limits = {{}}
for at = 1, #KEYS do limits[at] = tonumber(ARGV[at + 1]) end
return take(KEYS, tonumber(ARGV[1]), limits)
""")


class Verdict(NamedTuple):
    """Whether a request may pass, and what is left."""

    is_allowed: bool
    remaining: int
    wait_seconds: float
    full_in_seconds: float


class Buckets:
    """The buckets of this service, from any number of threads."""

    def __init__(self, url: str) -> None:
        self._line = RedisLine(url)
        self._pause_until = 0.0

    def take(self, names: Sequence[str], limits: Sequence[int]) -> Verdict | None:
        """Take one request from each bucket of so many per minute; None if Redis does not say."""
        if time.monotonic() < self._pause_until:
            return None
        try:
            keys = [BUCKET_START + name for name in names]
            answer = self._line.run(TAKE, keys, [WINDOW_MILLISECONDS, *limits])
        except redis.RedisError as error:
            logger.warning("Nobody is limited: %s", error)
            self._pause_until = time.monotonic() + PAUSE_SECONDS
            return None
        return read_verdict(answer)


def read_verdict(answer: Sequence[int]) -> Verdict:
    """Return what the script says."""
    allowed, remaining, wait, full = answer
    return Verdict(allowed == 1, remaining, wait / 1000, full / 1000)


def name_buckets(user: User, credential: Credential) -> list[str]:
    """Return the buckets that a request is taken from."""
    return [f"user:{user.pk}", f"credential:{credential.name}"]


class LimitedView:
    """A view whose callers are counted. Goes before the view class of the framework."""

    verdict: Verdict | None = None

    def check_throttles(self, request: Request) -> None:
        """Count the request.

        :raises Throttled: the caller's user or credential has made too many
        """
        limit = settings.API_REQUESTS_PER_MINUTE
        if not limit or not request.user:
            return
        self.verdict = request.__dict__.get(
            "verdict"
        )  # if it was counted when it was asked who it is from
        if self.verdict is None:
            names = name_buckets(cast(User, request.user), cast(Credential, request.auth))
            self.verdict = get_buckets(settings.REDIS_URL).take(names, [limit] * len(names))
        if self.verdict is not None and not self.verdict.is_allowed:
            raise Throttled(wait=self.verdict.wait_seconds)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Say what the caller has left."""
        final: Response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        if self.verdict is not None:
            limit, remaining = settings.API_REQUESTS_PER_MINUTE, self.verdict.remaining
            full_in = round(self.verdict.full_in_seconds)
            final["RateLimit-Policy"] = f'"requests";q={limit};w={WINDOW_SECONDS}'
            final["RateLimit"] = f'"requests";r={remaining};t={full_in}'
        return final


@cache
def get_buckets(url: str) -> Buckets:
    """Return the buckets that this Redis keeps."""
    return Buckets(url)
