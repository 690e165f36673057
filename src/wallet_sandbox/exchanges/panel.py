"""The panel: a page to switch faults on, and the same as JSON under /control for tests and scripts."""

import html
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from .coins import NETWORKS_OF
from .world import FAULTS, VENUES, Fault, Key, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STYLE = (
    "body{font:15px system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ddd;padding:.3rem .8rem;text-align:left}code{font-size:13px}"
    "fieldset{border:1px solid #ccc;margin:1rem 0}h2{margin-top:2rem}"
)


def make_panel(world: World) -> web.Application:
    """Return the panel of a world."""
    app = web.Application(middlewares=[_same_origin], client_max_size=64 * 1024)

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=_page(world), content_type="text/html")

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def state(request: web.Request) -> web.Response:
        return web.json_response(_state(world))

    async def calls(request: web.Request) -> web.Response:
        return web.json_response(list(world.calls))

    def change(act: Callable[[World, dict[str, Any]], None]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            is_form = request.content_type == "application/x-www-form-urlencoded"
            try:
                given = dict(await request.post()) if is_form else await request.json()
                act(world, given)
            except (KeyError, ValueError, TypeError) as error:
                return web.json_response({"error": str(error)[:200]}, status=400)
            if is_form:
                raise web.HTTPSeeOther("/")
            return web.json_response(_state(world))

        return handle

    app.router.add_get("/", show)
    app.router.add_get("/healthz", health)
    app.router.add_get("/control/state", state)
    app.router.add_get("/control/calls", calls)
    for name, act in CHANGES.items():
        app.router.add_post(f"/control/{name}", change(act))
    return app


@web.middleware
async def _same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep the pages of other sites from switching faults on."""
    origin = request.headers.get("Origin")
    if origin and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="not from this page")
    return await handler(request)


def _add_fault(world: World, given: dict[str, Any]) -> None:
    """{"kind": ..., "venue": "*", "path": "", "method": "", "times": null, "seconds": 1}"""
    kind, venue = given["kind"], given.get("venue") or "*"
    if kind not in FAULTS or venue not in {"*", *VENUES}:
        raise ValueError(
            f"kind must be one of {', '.join(FAULTS)}; venue one of *, {', '.join(VENUES)}"
        )
    times = given.get("times")
    world.faults.append(
        Fault(
            kind=kind,
            venue=venue,
            path=str(given.get("path") or ""),
            method=str(given.get("method") or ""),
            times=None if times in {None, ""} else int(times),
            seconds=float(given.get("seconds") or 1),
        )
    )


def _clear_faults(world: World, given: dict[str, Any]) -> None:
    world.faults.clear()


def _set_latency(world: World, given: dict[str, Any]) -> None:
    """{"seconds": 0.1}"""
    world.latency_seconds = float(given["seconds"])


def _set_clock(world: World, given: dict[str, Any]) -> None:
    """{"offset_ms": 60000}: the venues' clocks run ahead of ours."""
    world.clock_offset_ms = int(given["offset_ms"])


def _set_limits(world: World, given: dict[str, Any]) -> None:
    """{"kept": false}"""
    world.limits_are_kept = given["kept"] in {True, "true"}
    world.spent.clear()


def _set_wallets(world: World, given: dict[str, Any]) -> None:
    """{"extra": 300}: further wallets of each Coinbase account."""
    world.extra_wallets = int(given["extra"])


def _rotate(world: World, given: dict[str, Any]) -> None:
    """{"venue", "key", "coin", "network"}: a new address from now on."""
    venue, coin, network = given["venue"], given["coin"], given["network"]
    if (venue, given["key"]) not in world.keys or network not in NETWORKS_OF.get(coin, ()):
        raise ValueError("there is no such key, coin or network")
    world.rotate(venue, given["key"], coin, network)


def _put_key(world: World, given: dict[str, Any]) -> None:
    """{"venue", "key", "secret", "passphrase", "permissions": [...], "allowed_ip", "valid_until"}"""
    if given["venue"] not in VENUES:
        raise ValueError("there is no such venue")
    permissions = frozenset(given.get("permissions", ["read"]))
    if not permissions <= {"read", "trade", "withdraw"}:
        raise ValueError("permissions are read, trade and withdraw")
    world.add_key(Key(**{**given, "permissions": permissions}))


def _change_key(world: World, given: dict[str, Any]) -> None:
    """{"venue", "key", and what changes}"""
    changes = {name: value for name, value in given.items() if name not in {"venue", "key"}}
    if "permissions" in changes:
        changes["permissions"] = frozenset(changes["permissions"])
    world.change_key(given["venue"], given["key"], **changes)


def _delete_key(world: World, given: dict[str, Any]) -> None:
    """{"venue", "key"}: as if its owner had deleted it there."""
    del world.keys[given["venue"], given["key"]]


def _reset(world: World, given: dict[str, Any]) -> None:
    world.reset()


CHANGES: dict[str, Callable[[World, dict[str, Any]], None]] = {
    "faults": _add_fault,
    "clear": _clear_faults,
    "latency": _set_latency,
    "clock": _set_clock,
    "limits": _set_limits,
    "wallets": _set_wallets,
    "rotate": _rotate,
    "keys": _put_key,
    "change": _change_key,
    "delete": _delete_key,
    "reset": _reset,
}


def _state(world: World) -> dict[str, Any]:
    """Return everything that can be switched, and the keys with their secrets: they open nothing real."""
    return {
        "faults": [asdict(fault) for fault in world.faults],
        "latency_seconds": world.latency_seconds,
        "clock_offset_ms": world.clock_offset_ms,
        "limits_are_kept": world.limits_are_kept,
        "keys": [
            {**asdict(key), "permissions": sorted(key.permissions)} for key in world.keys.values()
        ],
    }


def _page(world: World) -> str:
    venues = "".join(f"<option>{venue}</option>" for venue in ("*", *VENUES))
    kinds = "".join(
        f"<option value={kind}>{kind}: {html.escape(what)}</option>"
        for kind, what in FAULTS.items()
    )
    faults = "".join(
        f"<li><code>{html.escape(json.dumps(asdict(fault)))}</code></li>" for fault in world.faults
    )
    rows = "".join(
        f"<tr><td>{key.venue}</td><td><code>{html.escape(key.key)}</code></td><td>{', '.join(sorted(key.permissions)) or 'nothing'}</td>"
        f"<td><details><summary>show</summary><pre>{html.escape(key.secret)}\n{html.escape(key.passphrase)}</pre></details></td></tr>"
        for key in world.keys.values()
    )
    return f"""<!doctype html><html lang=en><meta charset=utf-8><title>Sandbox exchanges</title><style>{STYLE}</style>
<h1>Sandbox exchanges</h1><p>{len(world.calls)} calls. Latency {world.latency_seconds:g} s, clock {world.clock_offset_ms} ms ahead,
limits {"kept" if world.limits_are_kept else "not kept"}.</p>
<fieldset><legend>A fault</legend><form method=post action=/control/faults>
<label>at <select name=venue>{venues}</select></label> <label>that <select name=kind>{kinds}</select></label>
<label>for paths with <input name=path></label> <label>times <input name=times size=3></label>
<label>seconds <input name=seconds value=1 size=3></label> <button>switch on</button></form>
<ul>{faults}</ul><form method=post action=/control/clear><button>clear all</button></form></fieldset>
<fieldset><legend>A new address</legend><form method=post action=/control/rotate>
<label>venue <select name=venue>{venues}</select></label> <label>key <input name=key></label>
<label>coin <input name=coin value=BTC size=5></label> <label>network <input name=network value=bitcoin></label>
<button>rotate</button></form></fieldset>
<fieldset><legend>Latency</legend><form method=post action=/control/latency><input name=seconds value={world.latency_seconds:g}>
<button>set</button></form></fieldset>
<h2>Keys</h2><table><tr><th>venue<th>key<th>may<th>secret, passphrase</tr>{rows}</table></html>"""
