"""The HTTP door: `/health`, `/ready` and `/metrics`, and metrics once more on an address of their own.

It asks plain callables and decides nothing itself. On a loopback address it answers only to that machine's names
(a foreign `Host` is a page that was rebound to us); on one that others reach it starts only where that was allowed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from podium.doors.serving import HttpServer, bind
from podium.service.service import Service
from podium.settings import Address, address_of, is_loopback, refuse_strangers
from podium.telemetry.health import ComponentHealth, Health
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import CONTENT_TYPE, Metrics

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_log = get_logger(__name__)


def http_door(service: Service) -> HttpDoor:
    """Return the HTTP door of a service, at the addresses that its settings name."""
    settings = service.settings
    return HttpDoor(
        address_of(settings.http, "http"),
        address_of(settings.metrics, "metrics"),
        health=service.reporting.health,
        ready=lambda: service.ready,
        metrics=service.metrics,
        allow_unauthenticated=settings.http_allow_unauthenticated,
        metrics_allow_unauthenticated=settings.metrics_allow_unauthenticated,
    )


class HttpDoor:
    """Serves the service's address and, if there is one, the metrics' address.

    `address` and `metrics_address` are the real ones once it has started: port 0 has become the port it got.
    """

    def __init__(
        self,
        address: Address | None,
        metrics_address: Address | None = None,
        *,
        health: Health,
        ready: Callable[[], bool],
        metrics: Metrics,
        routes: Sequence[BaseRoute] = (),
        allow_unauthenticated: bool = False,
        metrics_allow_unauthenticated: bool = False,
    ) -> None:
        """`routes` are further ones of the service's address. None for an address: it isn't listened on."""
        self.address = address
        self.metrics_address = metrics_address
        self._health = health
        self._ready = ready
        self._metrics = metrics
        self._routes = tuple(routes)
        self._allowed = {"http": allow_unauthenticated, "metrics": metrics_allow_unauthenticated}
        self._servers: list[HttpServer] = []

    @property
    def addresses(self) -> dict[str, Address]:
        """Where it listens: `http` and `metrics`."""
        both = {"http": self.address, "metrics": self.metrics_address}
        return {name: address for name, address in both.items() if address is not None}

    async def start(self) -> None:
        """Listen on both addresses or on neither. Once more changes nothing.

        Raises SettingsError for an address that can't be had, or that strangers would reach unasked.
        """
        if self._servers:
            return
        wanted = list(self.addresses.items())
        for name, address in wanted:
            refuse_strangers(name, address, self._allowed[name], f"{name}_allow_unauthenticated")
        try:
            for name, address in wanted:
                held = bind(name, address)
                self._servers.append(HttpServer(name, self._app(name, address), held, address.host))
            for (name, _), server in zip(wanted, self._servers, strict=True):
                await server.start()
                self._listens(name, server.address)
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Finish the answers under way and close. Safe twice; after it, the door can be started again."""
        for server in tuple(self._servers):
            await server.stop(drain_seconds)
            if server in self._servers:
                self._servers.remove(server)

    def _listens(self, name: str, address: Address) -> None:
        if name == "http":
            self.address = address
        else:
            self.metrics_address = address

    def _app(self, name: str, address: Address) -> ASGIApp:
        routes: list[BaseRoute] = [
            Route("/health", self._answer_health(in_full=address.loopback)),
            Route("/metrics", self._answer_metrics),
        ]
        if name == "http":
            routes += [Route("/ready", self._answer_ready), *self._routes]
        handlers: dict[Any, Any] = {HTTPException: _refused, Exception: _failed}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # a path is right or it isn't there
        return LoopbackNames(app) if address.loopback else app

    def _answer_health(self, *, in_full: bool) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            components = self._components()
            up = all(component.up for component in components.values())
            return _json(
                {
                    "status": _status(up),
                    "components": {name: _shown(component, in_full) for name, component in components.items()},
                },
                200 if up else 503,
            )

        return answer

    def _components(self) -> Mapping[str, ComponentHealth]:
        try:
            return self._health()
        except Exception as error:  # noqa: BLE001 - what can't say how it is, isn't well: that is the answer
            _log.error("the service's health can't be told", error=repr(error))
            return {"health": ComponentHealth(up=False, detail=f"can't be told: {error!r}")}

    async def _answer_ready(self, _: Request) -> Response:
        if self._ready():
            return _json({"status": "ready"})
        return _json({"status": "not ready"}, 503)

    async def _answer_metrics(self, _: Request) -> Response:
        await self._metrics.refresh()
        return Response(self._metrics.render(), headers={**_HEADERS, "content-type": CONTENT_TYPE})


class LoopbackNames:
    """Lets in only requests for this machine's own names (against DNS rebinding); others are answered with 421."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if len(hosts) == 1 and is_loopback(_without_port(hosts[0])):
            await self._app(scope, receive, send)
            return
        refusal = _json({"error": "this address answers only to localhost"}, 421)
        await refusal(scope, receive, send)


def _without_port(host: str) -> str:
    """Return a Host header's name: `[::1]:80` and `[::1]` are `::1`."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name if bracket and (not port or (port[0] == ":" and port[1:].isdigit())) else host
    name, colon, port = host.partition(":")
    return name if not colon or port.isdigit() else host


def _status(up: bool) -> str:
    return "up" if up else "down"


def _shown(component: ComponentHealth, in_full: bool) -> dict[str, Any]:
    """Return a component for JSON; those who reach us from elsewhere learn only whether it is up."""
    shown: dict[str, Any] = {"status": _status(component.up)}
    if in_full and component.detail:
        shown["detail"] = component.detail
    if in_full and component.facts:
        shown["facts"] = component.facts
    return shown


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = msgspec.json.encode(document, enc_hook=str)  # a fact may be a path, or whatever else says itself
    return Response(content, status, {**_HEADERS, **(headers or {})}, "application/json")


async def _refused(request: Request, error: HTTPException) -> Response:
    said = {404: f"there is no {request.url.path}", 405: f"{request.method} isn't allowed here"}
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))  # Starlette's order changes by the process
    return _json({"error": said.get(error.status_code, error.detail)}, error.status_code, headers)


async def _failed(_: Request, error: Exception) -> Response:
    _log.error("a request couldn't be answered", error=repr(error))
    return _json({"error": "Podium couldn't answer; its log says why"}, 500)
