"""What PostgreSQL does for the lists of wallets with a million of them: `python -m bench.explain_lists [WALLETS]`.

Prints the time and the buffers of each list of the API and of each query of seed 000, as they are and with the seed's
indexes, and what the index on the balance does to the movements of money.
"""

import json
import os
import sys
import time
from typing import Any

from wallet_service.embedded import temporary_postgres

FILL = """
insert into dj_wallet_identity_user (id, password, is_superuser, username, first_name, last_name, email, is_staff,
    is_active, date_joined)
select lpad(to_hex(n), 32, '0')::uuid, '', false, 'user-' || n, '', '', '', false, true, now()
from generate_series(1, %(users)s) n;
insert into dj_wallet_asset (code, name, decimal_places, kind)
select 'C' || n, '', 8, 'crypto' from generate_series(0, 4) n on conflict do nothing;
insert into dj_wallet_account (asset_id, decimal_places, kind, code, balance, locked_balance, pending_balance,
    overdraft_limit, is_frozen, version{extra_columns})
select 'C' || (n %% 5), 8, 'wallet', null, case when n %% 3 = 0 then n else 0 end, case when n %% 1000 = 0 then 1 else 0 end,
    0, 0, false, 0{extra_values}
from generate_series(0, %(wallets)s - 1) n;
insert into dj_wallet_wallet (id, holder_type_id, holder_id, slug, uuid, meta, frozen_reason, created_at,
    updated_at)
select id, (select id from django_content_type where model = 'user' and app_label = 'dj_wallet_identity'),
    {holder}, lower(asset_id), gen_random_uuid(), '{{}}', '', now(), now()
from dj_wallet_account where kind = 'wallet';
"""
SEED_INDEXES = (
    "create index seed_user_created on dj_wallet_wallet (holder_type_id, holder_id, created_at desc)",
    "create index seed_balance on dj_wallet_account (balance)",
    "create index seed_locked on dj_wallet_account (id) where locked_balance > 0",
)
MOVEMENTS = 3_000


def main(wallets: int) -> None:
    """Print the figures as lines of JSON."""
    with temporary_postgres() as server:
        server.create_database("wallet")
        os.environ["DATABASE_URL"] = server.url("wallet")
        os.environ["DJANGO_SETTINGS_MODULE"] = "wallet_service.settings"
        os.environ["WALLET_CACHE_SECONDS"] = "0"
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        fill(wallets)
        show("as it is")
        for statement in SEED_INDEXES:
            execute(statement)
        show("with the seed's indexes")


def fill(wallets: int) -> None:
    from dj_wallet.models import Wallet

    column: Any = Wallet._meta.get_field("holder_id")
    text = column.db_type(connection()) != "uuid"
    account: Any = Wallet._meta.get_field("account_ptr").remote_field.model
    has_rules = any(field.name == "has_rules" for field in account._meta.fields)
    user = f"lpad(to_hex(1 + (id / 5) %% {wallets // 5}), 32, '0')::uuid"
    statement = FILL.format(
        holder=f"({user})::text" if text else user,
        extra_columns=", has_rules" if has_rules else "",
        extra_values=", false" if has_rules else "",
    )
    for one in statement.split(";\n"):
        if one.strip():
            execute(one, {"users": wallets // 5 + 1, "wallets": wallets})
    execute("analyze")


def show(label: str) -> None:
    """Print each query's plan in short, and the speed of movements."""
    say(label, "deposits", **move())
    execute("analyze")
    for name, query in list_queries().items():
        say(label, name, **explain(query))


def list_queries() -> dict[str, Any]:
    from dj_wallet.identity.models import User
    from dj_wallet.models import Wallet
    from dj_wallet.rest.coins.queries import list_coin_wallets
    from dj_wallet.rest.queries import list_wallets

    user = User.objects.get(username="user-77")
    staff = User(is_staff=True)
    coins = list_coin_wallets(user).order_by("-pk")
    own = Wallet.objects.held_by(user)
    everybody = list_coin_wallets(staff).order_by("-pk")
    return {
        "GET /wallets/": list_wallets(user).order_by("-pk")[:51],
        "GET /api/wallets/": coins[:51],
        "GET /api/wallets/?coin=": coins.filter(asset_id="C3")[:51],
        "GET /api/wallets/?with_balance=": coins.filter(balance__gt=0)[:51],
        "GET /api/wallets/ (staff)": everybody[:51],
        "GET /api/wallets/?with_locked= (staff)": everybody.filter(locked_balance__gt=0)[:51],
        "seed: user's newest": own.order_by("-created_at")[:51],
        "seed: user's with balance": own.filter(balance__gt=0),
        "seed: user's of a coin": own.filter(asset_id="C3"),
        "seed: all with locked funds": Wallet.objects.filter(locked_balance__gt=0),
    }


def explain(query: Any) -> dict[str, Any]:
    """Return milliseconds, buffers and the nodes of the plan; the second run, so that both are warm."""
    for _ in range(2):
        (plan,) = json.loads(query.explain(analyze=True, buffers=True, format="json"))
    nodes: list[str] = []
    walk(plan["Plan"], nodes)
    buffers = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return {
        "ms": round(plan["Execution Time"], 2),
        "buffers": buffers,
        "rows": plan["Plan"]["Actual Rows"],
        "plan": nodes,
    }


def walk(node: dict[str, Any], nodes: list[str]) -> None:
    if "Subplan Name" not in node and node.get("Relation Name"):
        nodes.append(f"{node['Node Type']} {node.get('Index Name', node['Relation Name'])}")
    for child in node.get("Plans", ()):
        walk(child, nodes)


def move() -> dict[str, Any]:
    """Return what deposits cost, and how many updates stayed on their page (HOT)."""
    from decimal import Decimal

    from dj_wallet.ledger.engine import Entry, Kind, Movement
    from dj_wallet.ledger.post import post_one
    from dj_wallet.models import Wallet

    ids = list(Wallet.objects.order_by("pk").values_list("pk", "asset_id")[:MOVEMENTS])
    execute("select pg_stat_reset()")
    start = execute("select pg_current_wal_insert_lsn()::text")[0][0]
    began = time.monotonic()
    for pk, asset in ids:
        post_one(Entry(Kind.DEPOSIT, (Movement("external:bank", pk, Decimal(1), asset),)))
    seconds = time.monotonic() - began
    wal = execute("select pg_current_wal_insert_lsn() - %(start)s::pg_lsn", {"start": start})[0][0]
    execute("select pg_stat_force_next_flush()")
    hot = "select n_tup_hot_upd, n_tup_upd from pg_stat_user_tables where relname = 'dj_wallet_account'"
    stayed, updated = execute(hot)[0]
    return {
        "per_second": round(len(ids) / seconds),
        "wal_bytes": round(wal / len(ids)),
        "hot": f"{stayed} of {updated}",
    }


def say(label: str, name: str, **figures: Any) -> None:
    sys.stdout.write(json.dumps({"indexes": label, "query": name, **figures}) + "\n")
    sys.stdout.flush()


def connection() -> Any:
    from django.db import connection as default

    return default


def execute(statement: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    with connection().cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
