import random, pytest
from django.db import connection
from dj_wallet.ledger.post import post
from tests.ledger.together import run_together, raise_errors
from tests.ledger.worlds import *
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("n",[6,300])
def test_dl(n):
    ws=[make_wallet(Role(balances=(1000,0,0)), slug=f"w{i}") for i in range(n)]
    def run(p):
        d=random.Random(p)
        for _ in range(30):
            pairs=[d.sample(ws,2) for _ in range(20)]
            post([transfer_entry(a,b,1) for a,b in pairs])
    raise_errors(run_together(*[lambda p=p: run(p) for p in range(8)]))
    with connection.cursor() as c:
        c.execute("select pg_sleep(1.2)"); c.execute("select pg_stat_force_next_flush()"); c.execute("select deadlocks from pg_stat_database where datname=current_database()"); print("DEADLOCKS", n, c.fetchone())
