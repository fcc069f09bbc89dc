"""What a middleware is made for: the configuration, its service, its redirect URIs.

An app can be wrapped before its settings exist. The settings are then read, and the
service made, at the first request; what is wrong with the rest is told at construction
all the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.redirect_uris import RedirectOptions, RedirectURIs, site_problems
from wsgi_authkit.service import AuthKitService
from wsgi_authkit.stores import Store, check_store

if TYPE_CHECKING:
    import requests

    from wsgi_authkit.session_storage import SessionStorage


class Site:
    """A service, and the redirect URIs on which it answers."""

    __slots__ = ("redirect_uris", "service")

    def __init__(self, service: AuthKitService, redirect_uris: RedirectURIs) -> None:
        self.service = service
        self.redirect_uris = redirect_uris


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What a service is made with besides the configuration."""

    #: A URL can have a password in it.
    store: str | Store = field(repr=False)
    session_storage: str | Callable[[AuthKitConfig], SessionStorage]
    http: requests.Session | None
    clock: Callable[[], float]
    refresh_buffer: float | None
    session_cache_size: int
    revocation_check: float | None

    def problems(self) -> Iterator[str]:
        """Yield what keeps a service from being made."""
        try:
            check_store(self.store)
        except ConfigurationError as error:
            yield from error.problems
        if not callable(self.clock):
            yield "clock must be a callable that returns Unix seconds"
        if self.http is not None and not hasattr(self.http, "request"):
            yield "http must be a requests.Session"

    def make(self, config: AuthKitConfig) -> AuthKitService:
        """Return the service of a configuration."""
        factory = self.session_storage
        return AuthKitService(
            config,
            storage=factory(config) if callable(factory) else None,
            store=self.store,
            http=self.http,
            clock=self.clock,
            refresh_buffer=self.refresh_buffer,
            session_cache_size=self.session_cache_size,
            revocation_check=self.revocation_check,
        )


class SiteMaker:
    """Makes the site of a middleware, at construction or at the first request.

    :param config: The configuration, ``None`` for that of the environment, or a
        callable that returns one.
    :param taken: The paths on which something else answers than a callback.
    """

    def __init__(
        self,
        config: AuthKitConfig | Callable[[], AuthKitConfig] | None,
        redirects: RedirectOptions,
        service_options: ServiceOptions,
        taken: Collection[str],
        *,
        allow_insecure: bool,
    ) -> None:
        self._config = config
        self._redirects = redirects
        self._service_options = service_options
        self._taken = taken
        self._overrides: dict[str, Any] = dict(redirects.overrides)
        if allow_insecure:
            self._overrides["allow_insecure"] = True
        #: The site, ``None`` until it is there.
        self.made: Site | None = None
        self._locks: dict[int, threading.Lock] = {}

    def prepare(self) -> Iterator[str]:
        """Make the site, if its settings exist; yield what keeps it from being made."""
        config = self._config
        if not (config is None or isinstance(config, AuthKitConfig)):
            if not callable(config):
                yield "config must be an AuthKitConfig, or a callable that returns one"
            return
        try:
            self.made = self._make()
        except ConfigurationError as error:
            yield from error.problems

    @property
    def site(self) -> Site:
        """The site, made now if it is not there yet.

        :raises ConfigurationError: The settings that a callable returned cannot work.
        """
        return self.made or self._first_site()

    def _first_site(self) -> Site:
        # Made here and not at construction: a lock that is held at a fork stays held.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self.made is None:
                self.made = self._make()
            return self.made

    def _make(self) -> Site:
        config = self._load()
        listed = self._redirects.listed
        problems = list(site_problems(config, listed, self._taken))
        if problems:
            raise ConfigurationError(problems)
        service = self._service_options.make(config)
        for uri in listed:
            # Known from the start: a sign-out ends the flows of all of them.
            service.with_redirect_uri(uri)
        uris = RedirectURIs(config.redirect_uri, listed, self._redirects.choose)
        return Site(service, uris)

    def _load(self) -> AuthKitConfig:
        config = self._config
        if config is None:
            return AuthKitConfig.from_environ(
                overrides=self._overrides, **self._redirects.defaults
            )
        given = config() if callable(config) else config
        if not isinstance(given, AuthKitConfig):
            raise ConfigurationError(
                [
                    "config must return an AuthKitConfig, and returned "
                    f"{type(given).__name__}"
                ]
            )
        return replace(given, **self._overrides)
