"""The two servers: the venues over TLS, told apart by host, and the panel over plain HTTP."""

import asyncio
import json
import time
from pathlib import Path
from typing import Final

from aiohttp import web

from .binance import Binance
from .bitfinex import Bitfinex
from .bybit import Bybit
from .call import Answer, Call, Venue
from .coinbase import Coinbase
from .htx import HTX
from .kraken import Kraken
from .kucoin import KuCoin
from .okx import OKX
from .panel import make_panel
from .tls import make_server_context
from .world import Fault, World

ALL: Final[tuple[Venue, ...]] = (
    Binance(), Coinbase(), Kraken(), Bitfinex(), HTX(), KuCoin(), Bybit(), OKX(),
)  # fmt: skip
BY_HOST: Final = {host: venue for venue in ALL for host in venue.hosts}
PAGE: Final = (
    "<html><head><title>Error</title></head><body><h1>Something is wrong</h1></body></html>"
)

# Faults below HTTP's contents, the same for all.
PAGES: Final = {
    "unavailable": Answer(502, PAGE),
    "blocked": Answer(403, PAGE.replace("Something is wrong", "Access denied")),
    "restricted": Answer(451, PAGE),
    "garbage": Answer(200, PAGE),
    "empty": Answer(200, ""),
    "truncated": Answer(200, '{"code": "0", "data": [{"addr'),
    "misshapen": Answer(200, {"surprise": True}),
    "huge": Answer(502, PAGE + "x" * 1_000_000),
    "redirect": Answer(302, "", {"Location": "https://elsewhere.example/"}),
}
HANG_SECONDS: Final = 60


def make_venues(world: World) -> web.Application:
    """Return the application that answers for all venues."""

    async def answer(request: web.Request) -> web.StreamResponse:
        venue = BY_HOST.get(request.host.partition(":")[0])
        if venue is None:
            return web.Response(status=421, text="no venue of this name")
        call = await _read(request, venue, world)
        if world.latency_seconds:
            await asyncio.sleep(world.latency_seconds)
        if call.fault and (refused := await _meet(call, call.fault, venue, request)):
            return _respond(refused)
        return _respond(_limited(call, venue) or _answer(call, venue))

    app = web.Application(client_max_size=64 * 1024)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def _read(request: web.Request, venue: Venue, world: World) -> Call:
    path, _, query = request.raw_path.partition("?")
    world.calls.append(
        {"venue": venue.name, "method": request.method, "path": path, "at": time.time()}
    )
    return Call(
        venue=venue.name,
        method=request.method,
        path=path,
        query=query,
        headers=request.headers,
        body=(await request.read()).decode(errors="replace"),
        ip=request.remote or "",
        world=world,
        fault=world.take_fault(venue.name, path, request.method),
    )


async def _meet(call: Call, fault: Fault, venue: Venue, request: web.Request) -> Answer | None:
    """Return the answer that a fault puts in place of the venue's, or None if the venue answers."""
    if fault.kind == "down":
        if request.transport is not None:
            request.transport.abort()
        return Answer(500, "")
    if fault.kind in {"hang", "slow"}:
        await asyncio.sleep(HANG_SECONDS if fault.kind == "hang" else fault.seconds)
        return None
    if fault.kind in PAGES:
        return PAGES[fault.kind]
    refusal = venue.refusals.get(fault.kind)
    if refusal is None and fault.kind == "banned":
        refusal = venue.refusals["rate_limited"]._replace(status=418)
    if refusal is not None and fault.kind in {"rate_limited", "banned"}:
        return refusal._replace(headers={"Retry-After": f"{fault.seconds:g}"})
    return refusal


def _limited(call: Call, venue: Venue) -> Answer | None:
    """Return the venue's refusal of a caller who is above its limit."""
    limit = venue.limit(call) if call.world.limits_are_kept else None
    if limit is None:
        return None
    who, cost, allowed, seconds = limit
    wait = call.world.may_spend(call.venue, who, cost, allowed, seconds)
    if not wait:
        return None
    refusal = venue.refusals["rate_limited"]
    return refusal._replace(headers={"Retry-After": str(int(wait) + 1)})


def _answer(call: Call, venue: Venue) -> Answer:
    """A request that the venue cannot read is refused, not crashed on."""
    try:
        return venue.answer(call)
    except (KeyError, ValueError, TypeError) as error:
        return Answer(400, {"error": f"malformed request: {type(error).__name__}"})


def _respond(answer: Answer) -> web.Response:
    if isinstance(answer.body, str):
        return web.Response(
            status=answer.status, text=answer.body, headers=answer.headers, content_type="text/html"
        )
    return web.Response(
        status=answer.status,
        text=json.dumps(answer.body),
        headers=answer.headers,
        content_type="application/json",
    )


async def serve(
    world: World, *, host: str, port: int, panel_port: int, tls_folder: Path
) -> tuple[int, int]:
    """Start both servers on the running loop and return their ports; 0 takes a free one."""
    context = make_server_context(tls_folder, BY_HOST)
    ports = []
    for app, wanted, tls in (
        (make_venues(world), port, context),
        (make_panel(world), panel_port, None),
    ):
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, host, wanted, ssl_context=tls)
        await site.start()
        ports.append(runner.addresses[0][1])
    return ports[0], ports[1]
