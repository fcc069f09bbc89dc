"""Key sets in the store, for workers that start while WorkOS is down."""

from __future__ import annotations

from typing import Final

from wsgi_authkit.stores.ledger import Ledger

#: Seconds that a key set is kept: as long as stale keys are used.
LIFETIME: Final = 7 * 86400.0

#: Seconds that the clocks of hosts may differ.
CLOCK_SKEW: Final = 60.0

_KIND, _ONLY = "keys", ""


class LedgerKeyArchive:
    """A :class:`~wsgi_authkit.key_set.KeyArchive` in the ledger.

    The ledger's values are encrypted: who writes the store cannot plant a key.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def save(self, document: bytes, fetched_at: float) -> None:
        """Keep a document fetched at this Unix time, unless a newer one is kept.

        One that is newer by more than clocks differ was kept by a host whose clock was
        wrong, and would stay for as long.
        """
        kept = self.load()
        if kept is not None and 0 <= kept[1] - fetched_at <= CLOCK_SKEW:
            return
        value = {"document": document.decode("latin-1"), "fetched_at": fetched_at}
        self._ledger.set(_KIND, _ONLY, value, LIFETIME)

    def load(self) -> tuple[bytes, float] | None:
        """Return the document kept last, and when it was fetched."""
        value = self._ledger.get(_KIND, _ONLY)
        if value is None:
            return None
        try:
            return value["document"].encode("latin-1"), float(value["fetched_at"])
        except (KeyError, TypeError, ValueError, AttributeError):
            # Another release of this package wrote it.
            return None
