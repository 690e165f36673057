"""Scripts run in Redis, each with one round trip over a connection that the thread keeps.

The client of redis-py borrows a connection from a pool for each call, and counts and traces it: three times what the call
itself costs, on every request of the API.
"""

import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError, ResponseError

TIMEOUT_SECONDS: Final = 0.5


class Script:
    """Lua that Redis is sent once and then told to run by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisLine:
    """A server of Redis, from any number of threads and processes."""

    def __init__(self, url: str) -> None:
        # Only reads the address: connections are made here, one for each thread.
        pool = redis.ConnectionPool.from_url(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._make: Any = pool.connection_class
        self._options = pool.connection_kwargs
        self._own = threading.local()

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Return the script's answer. The script may run twice if the server hangs up on a connection that was idle.

        :raises RedisError: Redis cannot be reached or does not answer in time, or the script is wrong
        """
        call = (len(keys), *keys, *arguments)
        was_used = self._prepare()
        try:
            return self._run(script, call)
        except redis.ConnectionError:
            if not was_used:
                raise
            return self._run(script, call)

    def _prepare(self) -> bool:
        """See to it that the thread has a connection, and tell whether it had. A forked process makes its own."""
        own, pid = self._own, os.getpid()
        if getattr(own, "pid", None) != pid:
            own.connection, own.pid, own.is_waiting = self._make(**self._options), pid, False
            return False
        return True

    def _run(self, script: Script, call: Sequence[Any]) -> Any:
        try:
            return self._ask("EVALSHA", script.sha, *call)
        except NoScriptError:
            return self._ask("EVAL", script.text, *call)

    def _ask(self, *command: Any) -> Any:
        own = self._own
        if own.is_waiting:
            # Somebody was interrupted before the answer came. It must not be taken for ours.
            own.connection.disconnect()
        own.is_waiting = True
        try:
            own.connection.send_command(*command)
            answer = own.connection.read_response()
        except ResponseError:
            own.is_waiting = False
            raise
        own.is_waiting = False
        return answer
