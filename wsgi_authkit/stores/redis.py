"""A store in Redis, shared by processes of any number of hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from wsgi_authkit.errors import ConfigurationError, StoreError
from wsgi_authkit.stores.memory import check_ttl
from wsgi_authkit.stores.redis_deadline import deadline, timed

#: Seconds for an operation, with all it takes to connect. It ends within 250 ms, the
#: last chance included: a thread whose time is up has to wait for its turn.
TIMEOUT: Final = 0.2

#: Connections of a process, which more threads take turns with: a command takes them a
#: millisecond, making one as many as several commands.
_MAX_CONNECTIONS: Final = 32

_PREFIX: Final = "wsgi_authkit:"

# Comparing and deleting have to be one step: between two, the lease could expire and
# become somebody else's.
_DELETE_EXPECTED: Final = (
    'if redis.call("get", KEYS[1]) == ARGV[1] then '
    'return redis.call("del", KEYS[1]) else return 0 end'
)


class RedisStore:
    """A :class:`~wsgi_authkit.stores.Store` in Redis.

    :param client: Any client of redis-py: ``redis.Redis``, one of a Sentinel, a
        ``RedisCluster``. Give it time-outs; without them a Redis that hangs holds up
        every request.
    :param prefix: What the keys begin with.
    :raises ConfigurationError: The client is a URL, which :meth:`from_url` takes, or it
        decodes what it reads (``decode_responses``); values are bytes.
    """

    def __init__(self, client: Any, *, prefix: str = _PREFIX) -> None:
        if isinstance(client, str):
            raise ConfigurationError(
                ["RedisStore takes a client of redis-py; use RedisStore.from_url"]
            )
        get_encoder = getattr(client, "get_encoder", None)
        if get_encoder is not None and get_encoder().decode_responses:
            raise ConfigurationError(
                ["the client of RedisStore decodes: make it without decode_responses"]
            )
        self._client = client
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str) -> RedisStore:
        """Return a store for ``redis://``, ``rediss://`` or ``unix://``.

        Every operation takes 250 ms at most, connecting included, and none is repeated.

        :raises ConfigurationError: redis-py does not understand the URL.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        try:
            pool = redis.BlockingConnectionPool.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                # RESP3 begins with a round trip of its own.
                protocol=2,
                max_connections=_MAX_CONNECTIONS,
            )
            pool.timeout = TIMEOUT
            pool.connection_class = timed(pool.connection_class)
            # An option in the URL that no connection takes would else show up later.
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError):
            raise ConfigurationError(
                ["store is not a URL that redis-py understands"]
            ) from None
        return cls(redis.Redis.from_pool(pool))

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or ``None``."""
        with _operation("get"):
            value: bytes | None = self._client.get(self._prefix + key)
        return value

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds in place of any earlier one."""
        with _operation("set"):
            self._client.set(self._prefix + key, value, px=_milliseconds(ttl))

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` only if ``key`` has none, and return whether it was kept."""
        with _operation("add"):
            return bool(
                self._client.set(
                    self._prefix + key, value, px=_milliseconds(ttl), nx=True
                )
            )

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Forget ``key``, if ``expected`` is its value, and return whether it was."""
        name = self._prefix + key
        with _operation("delete"):
            if expected is None:
                return bool(self._client.delete(name))
            return bool(self._client.eval(_DELETE_EXPECTED, 1, name, expected))

    def close(self) -> None:
        """Close the connections; they are made again when they are needed."""
        with _operation("close"):
            self._client.close()


def _milliseconds(ttl: float) -> int:
    check_ttl(ttl)
    return max(1, round(ttl * 1000))


@contextmanager
def _operation(operation: str) -> Iterator[None]:
    """Have it end in time, and raise what redis-py raises as :class:`StoreError`."""
    from redis.exceptions import RedisClusterException, RedisError

    try:
        with deadline(TIMEOUT):
            yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreError(
            f"Redis failed: {type(error).__name__}", operation=operation
        ) from error
