"""The HTTP door, tried over real sockets: health, readiness, metrics, and what it refuses."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from podium.doors.http import HttpDoor
from podium.exceptions import SettingsError
from podium.settings import Address
from podium.telemetry.health import ComponentHealth
from podium.telemetry.metrics import Metrics

HERE = Address("127.0.0.1", 0)
EVERYWHERE = Address("0.0.0.0", 0)


class Service:
    """What stands behind the door."""

    def __init__(self) -> None:
        self.components: dict[str, ComponentHealth] = {"store": ComponentHealth(True, "SQLite", {"path": Path("p.db")})}
        self.ready = True
        self.metrics = Metrics()

    def door(self, address: Address | None = HERE, metrics: Address | None = None, **more) -> HttpDoor:
        return HttpDoor(
            address, metrics, health=lambda: self.components, ready=lambda: self.ready, metrics=self.metrics, **more
        )


@asynccontextmanager
async def opened(door: HttpDoor):
    """A door that has started, and a client of it."""
    await door.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{door.address}") as client:
            yield client
    finally:
        await door.stop()


def tried(door: HttpDoor, trial: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with opened(door) as client:
            await trial(client)

    asyncio.run(whole())


async def said(address: Address, request: bytes) -> bytes:
    """What is answered to these bytes until the connection ends."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def nobody_is_let_in(door: HttpDoor) -> None:
    """Waits until a new connection is refused."""
    while True:
        try:
            async with httpx.AsyncClient() as client:
                await client.get(f"http://{door.address}/ready")
        except (httpx.ConnectError, httpx.RemoteProtocolError):
            return


# --- what it answers --------------------------------------------------------------------------------------------------


def test_health_names_every_component() -> None:
    service = Service()

    async def trial(client: httpx.AsyncClient) -> None:
        answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {
            "status": "up",
            "components": {"store": {"status": "up", "detail": "SQLite", "facts": {"path": "p.db"}}},
        }
        service.components["bus"] = ComponentHealth(False, "no connection for 3 s")
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert answer.json()["components"]["bus"] == {"status": "down", "detail": "no connection for 3 s"}

    tried(service.door(), trial)


def test_a_service_that_cannot_say_how_it_is_is_not_well(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> dict[str, ComponentHealth]:
        raise RuntimeError("the registry is gone")

    async def trial(client: httpx.AsyncClient) -> None:
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert "the registry is gone" in answer.json()["components"]["health"]["detail"]

    tried(HttpDoor(HERE, health=broken, ready=lambda: True, metrics=Metrics()), trial)
    assert "the registry is gone" in caplog.text


def test_ready_is_said_only_while_it_is() -> None:
    service = Service()

    async def trial(client: httpx.AsyncClient) -> None:
        assert (await client.get("/ready")).status_code == 200
        service.ready = False
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})

    tried(service.door(), trial)


def test_metrics_are_served_on_both_addresses_and_nothing_else_on_theirs() -> None:
    service = Service()
    service.metrics.counter("message_bus_sent_total", "agent.messages", "REQUEST").inc(3)

    async def trial() -> None:
        door = service.door(metrics=HERE)
        async with opened(door) as client:
            assert door.metrics_address is not None
            assert door.metrics_address.port not in (0, door.address and door.address.port)
            own = f"http://{door.metrics_address}"
            for url in ("/metrics", f"{own}/metrics"):
                answer = await client.get(url)
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
                assert 'message_bus_sent_total{topic="agent.messages",type="REQUEST"} 3.0' in answer.text
                assert list(text_string_to_metric_families(answer.text))
            assert (await client.get(f"{own}/health")).status_code == 200
            assert (await client.get(f"{own}/ready")).status_code == 404

    asyncio.run(trial())


def test_what_must_be_asked_first_is_refreshed_before_a_scrape() -> None:
    service = Service()

    async def lag() -> None:
        service.metrics.gauge("consumer_lag", "results").set(12)

    service.metrics.refresh_with(lag)

    async def trial(client: httpx.AsyncClient) -> None:
        assert 'consumer_lag{consumer="results"} 12.0' in (await client.get("/metrics")).text

    tried(service.door(), trial)


def test_further_routes_are_served_behind_the_same_guard() -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def trial(client: httpx.AsyncClient) -> None:
        assert (await client.get("/hello")).text == "hello"
        assert (await client.get("/hello", headers={"host": "evil.example"})).status_code == 421

    tried(Service().door(routes=[Route("/hello", hello)]), trial)


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/health/", "//health", "/HEALTH", "/health;x", "/health%2f", "/health.json"]
)
def test_what_is_not_there_is_said_in_json(path: str) -> None:
    async def trial(client: httpx.AsyncClient) -> None:
        answer = await client.get(f"http://{client.base_url.host}:{client.base_url.port}{path}")
        assert answer.status_code == 404
        assert answer.json()["error"].startswith("there is no /")

    tried(Service().door(), trial)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_wrong_method_is_refused_with_those_that_are_right(method: str) -> None:
    async def trial(client: httpx.AsyncClient) -> None:
        for path in ("/health", "/ready", "/metrics"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
            assert answer.json() == {"error": f"{method} isn't allowed here"}

    tried(Service().door(), trial)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8002", "localhost.evil.example", "127.0.0.1.evil.example", "evil@localhost:80",
        "localhost:evil", "[::1", "[::1]evil", "192.168.0.1", "0.0.0.0", "", "localhost, evil.example",
    ],
)  # fmt: skip
def test_a_foreign_host_is_misdirected_on_a_loopback_address(host: str) -> None:
    async def trial(client: httpx.AsyncClient) -> None:
        for path in ("/health", "/ready", "/metrics", "/nothing"):
            assert (await client.get(path, headers={"host": host})).status_code == 421, path

    tried(Service().door(), trial)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:80"])
def test_this_machines_own_names_are_let_in(host: str) -> None:
    async def trial(client: httpx.AsyncClient) -> None:
        assert (await client.get("/health", headers={"host": host})).status_code == 200

    tried(Service().door(), trial)


def test_a_second_host_is_refused() -> None:
    async def trial(client: httpx.AsyncClient) -> None:
        address = Address(client.base_url.host, client.base_url.port or 0)
        answer = await said(address, b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400")
        answer = await said(address, b"GET /health HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 421")

    tried(Service().door(), trial)


def test_an_open_address_without_authentication_is_not_listened_on_and_the_setting_is_named() -> None:
    for door, setting in (
        (Service().door(EVERYWHERE), "http_allow_unauthenticated"),
        (Service().door(Address("::", 0)), "http_allow_unauthenticated"),
        (Service().door(HERE, EVERYWHERE), "metrics_allow_unauthenticated"),
        (Service().door(HERE, EVERYWHERE, allow_unauthenticated=True), "metrics_allow_unauthenticated"),
    ):
        with pytest.raises(SettingsError, match=rf"set {setting} \(PODIUM_{setting.upper()}=true\)"):
            asyncio.run(door.start())


def test_an_open_address_that_is_allowed_tells_strangers_only_up_or_not() -> None:
    service = Service()
    door = service.door(EVERYWHERE, allow_unauthenticated=True)

    async def trial(client: httpx.AsyncClient) -> None:
        assert door.address is not None
        answer = await client.get(f"http://127.0.0.1:{door.address.port}/health", headers={"host": "podium.example"})
        assert answer.json() == {"status": "up", "components": {"store": {"status": "up"}}}

    tried(door, trial)


def test_an_error_of_ours_tells_no_details(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(_: Request) -> PlainTextResponse:
        raise RuntimeError("inner secrets")

    async def trial(client: httpx.AsyncClient) -> None:
        answer = await client.get("/breaks")
        assert answer.status_code == 500
        assert answer.json() == {"error": "Podium couldn't answer; its log says why"}

    tried(Service().door(routes=[Route("/breaks", breaks)]), trial)
    assert "inner secrets" in caplog.text


# --- starting and stopping --------------------------------------------------------------------------------------------


def test_an_address_that_is_taken_is_refused_and_nothing_is_left_listening() -> None:
    async def trial() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            door = Service().door(HERE, Address("127.0.0.1", taken.getsockname()[1]))
            with pytest.raises(
                SettingsError, match=r"metrics: can't listen at 127\.0\.0\.1:\d+: Address already in use"
            ):
                await door.start()
            assert door.address == HERE
        await door.stop()

    asyncio.run(trial())


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"http: can't listen at 192\.0\.2\.1:0"):
        asyncio.run(Service().door(Address("192.0.2.1", 0), allow_unauthenticated=True).start())
    with pytest.raises(SettingsError, match="is no address of this machine"):
        asyncio.run(Service().door(Address("no-such-host.invalid", 0), allow_unauthenticated=True).start())


def test_starting_and_stopping_twice_is_safe_and_it_can_start_again() -> None:
    async def trial() -> None:
        door = Service().door(metrics=HERE)
        await door.stop()
        await door.start()
        await door.start()
        address = door.address
        await asyncio.gather(door.stop(), door.stop())
        await door.stop()
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient() as client:
                await client.get(f"http://{address}/ready")
        await door.start()
        assert door.address == address
        await door.stop()

    asyncio.run(trial())


def test_an_answer_under_way_is_finished_before_it_stops() -> None:
    async def trial() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        async def slow(_: Request) -> PlainTextResponse:
            asked.set()
            await go.wait()
            return PlainTextResponse("late but whole")

        door = Service().door(routes=[Route("/slow", slow)])
        async with opened(door) as client:
            answering = asyncio.create_task(client.get("/slow"))
            await asked.wait()
            stopping = asyncio.create_task(door.stop(30))
            await nobody_is_let_in(door)
            go.set()
            assert (await answering).text == "late but whole"
            await stopping

    asyncio.run(trial())


def test_an_answer_that_takes_too_long_does_not_hold_up_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def trial() -> None:
        asked = asyncio.Event()

        async def never(_: Request) -> PlainTextResponse:
            asked.set()
            await asyncio.Event().wait()
            return PlainTextResponse("")

        door = Service().door(routes=[Route("/never", never)])
        await door.start()
        async with httpx.AsyncClient() as client:
            answering = asyncio.create_task(client.get(f"http://{door.address}/never"))
            await asked.wait()
            async with asyncio.timeout(20):
                await door.stop(0.1)
            with pytest.raises(httpx.HTTPError):
                (await answering).raise_for_status()

    asyncio.run(trial())


def test_the_process_keeps_its_own_signals() -> None:
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))

    async def trial(_: httpx.AsyncClient) -> None:
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) != (None, None)
        assert signal.getsignal(signal.SIGTERM) == before[0]

    tried(Service().door(), trial)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_door_without_addresses_listens_nowhere() -> None:
    async def trial() -> None:
        door = Service().door(None)
        await door.start()
        assert (door.address, door.metrics_address) == (None, None)
        await door.stop()

    asyncio.run(trial())


def test_an_ipv6_address_is_served() -> None:
    if not socket.has_ipv6:
        pytest.skip("not run: no IPv6")

    async def trial(client: httpx.AsyncClient) -> None:
        assert (await client.get("/ready")).status_code == 200

    tried(Service().door(Address("::1", 0)), trial)
