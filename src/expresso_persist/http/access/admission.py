"""Admission: who sends a request, whose data it may see, and whether it is within the limits."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection

import attrs

from expresso_persist.errors import (
    Forbidden,
    InvalidConfiguration,
    NotFound,
    TooManyRequests,
    Unauthorized,
)
from expresso_persist.http.access.auth import (
    Actor,
    Authorize,
    BearerTokens,
    OneTimeTokens,
    Permission,
    StoredTokens,
    first_of,
    names_any_tenant,
)
from expresso_persist.http.access.guesses import credentials_in
from expresso_persist.http.access.limits import Limits, Rate, RateLimiter
from expresso_persist.http.access.origins import same_origin
from expresso_persist.http.access.tenants import ByRequest, KnownTenants, TenantOf
from expresso_persist.http.messages import Request
from expresso_persist.model.json_text import find_unstorable
from expresso_persist.store import Store

__all__ = ["Admission", "Admitted", "Needs", "authorizer"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")
_ANONYMOUS = Actor("anonymous", Permission.NONE)


@attrs.frozen
class Needs:
    """What an endpoint requires of a request.

    Attributes:
        permission: What the actor needs.
        rate: Which limit the request counts towards.
        writes: It may change something, so no page of another origin may send it.
        parameters: Parameters of the query that the endpoint has; others may be credentials.
    """

    permission: Permission
    rate: Rate
    writes: bool = False
    parameters: Collection[str] = ()


@attrs.frozen
class Admitted:
    """Who sends a request, and the store of the tenant that it is about."""

    actor: Actor
    store: Store


def authorizer(
    store: Store, authorize: Authorize | None, one_time_tokens: OneTimeTokens | None, prefix: str
) -> Authorize:
    """The host's hook, or the tokens of the environment and of the store; and one-time links."""
    ways: list[Authorize] = []
    if authorize is not None:
        ways.append(authorize)
    else:
        tokens = BearerTokens.from_environment()
        ways += [tokens] if tokens is not None else []
        if tokens is None and one_time_tokens is None and not store.tokens.list():
            logger.warning(
                "expresso-persist%s is closed: set EXPRESSO_PERSIST_TOKEN, run "
                "`expresso-persist token create`, or pass authorize= to register_routes() "
                "to let somebody in.",
                f" at {prefix}" if prefix else "",
            )
        ways.append(StoredTokens(store))
    if one_time_tokens is not None:
        ways.append(one_time_tokens)
    return first_of(ways)


class Admission:
    """Decides by a request's headers; a guess is counted before it is looked up."""

    def __init__(
        self,
        store: Store,
        authorize: Authorize,
        *,
        tenant: TenantOf | None = None,
        limits: Limits,
        origins: Collection[str] = (),
    ) -> None:
        """Admit requests to ``store``.

        Args:
            store: What is served.
            authorize: Returns the actor of a request, or None.
            tenant: Returns the tenant that a request names; without it, the store's.
            limits: How many requests there may be.
            origins: Other origins whose pages may write with this one's cookies.

        Raises:
            InvalidConfiguration: The limits cannot be understood, or every signed-in actor could
                name any tenant.
        """
        if isinstance(tenant, ByRequest) and names_any_tenant(authorize):
            raise InvalidConfiguration(
                "Everybody who is signed in could name any event: tenant= reads it from the "
                "request, and JwtTokens has no tenant_claim. Name the claim that holds a person's "
                "event, JwtTokens(..., tenant_claim=...); or say that all may see all, "
                "all_tenants=True."
            )
        self._store = store
        self._authorize = authorize
        self._tenant = tenant
        self._tenants = KnownTenants(store)
        self._origins = origins
        self._rates = RateLimiter(limits, store)

    def admit(self, needs: Needs, request: Request) -> Admitted:
        """Admit a new request: it counts towards the limits, and wrong credentials as guesses.

        Raises:
            TooManyRequests: The actor, or the network address, sent too many.
            Unauthorized: See :meth:`identify`, as for the others.
            Forbidden: The same.
            NotFound: The same.
        """
        if needs.permission is Permission.NONE:
            self._rates.count_address(needs.rate, request.client)
            return self.identify(needs, request)
        new = False
        try:
            with self.guess(request, credentials_in(request, needs.parameters)) as new:
                admitted = self.identify(needs, request)
        except Unauthorized:
            try:
                self._rates.count_address(needs.rate, request.client)
            except TooManyRequests as error:
                # Otherwise the right credentials would get another answer than the next wrong
                # ones. A station whose token expired does not guess, and blocks no one.
                if new:
                    self._rates.guesses.close(request.client, error.retry_after or 0)
                raise
            raise
        self._rates.count(needs.rate, admitted.store.tenant, admitted.actor.name)
        return admitted

    def identify(self, needs: Needs, request: Request) -> Admitted:
        """Find the actor and the tenant, without counting anything.

        Raises:
            Unauthorized: There are no valid credentials, or they are another tenant's.
            Forbidden: The permission is too low, or the page of another origin sends it.
            NotFound: There is no such tenant.
        """
        if needs.permission is Permission.NONE:
            # Without credentials, no name in the request leads to a tenant.
            return Admitted(_ANONYMOUS, self._store)
        actor = self._actor(needs, request)
        asked = self._tenant(request) if self._tenant else None
        return Admitted(actor, self._tenants.store(actor, asked))

    def still_allowed(self, needs: Needs, request: Request, tenant: str) -> bool:
        """Whether the same request would be admitted now, to the same tenant's data."""

        def check() -> bool:
            try:
                return self.identify(needs, request).store.tenant == tenant
            except (Unauthorized, Forbidden, NotFound):
                return False

        run = request.in_new_context
        return check() if run is None else bool(run(check))

    def guess(self, request: Request, credentials: str) -> contextlib.AbstractContextManager[bool]:
        """Count credentials as a guess while they are looked up; see :class:`Guesses`."""
        return self._rates.guesses.attempt(request.client, credentials)

    def check_address(self, request: Request) -> None:
        """Refuse a network address that guessed too often.

        Raises:
            TooManyRequests: It did.
        """
        self._rates.guesses.check(request.client)

    def _actor(self, needs: Needs, request: Request) -> Actor:
        actor = self._authorize(request)
        # A name that the audit trail cannot hold is no name.
        if actor is None or find_unstorable(actor.name) is not None:
            raise Unauthorized
        if needs.writes and not same_origin(request, self._origins):
            raise Forbidden(
                "A page of another origin may not do this with what the browser keeps for this "
                "one. If it is yours, name it: register_routes(..., origins=[...])."
            )
        if actor.permission < needs.permission:
            raise Forbidden
        return actor
