"""The check of an access token of ours: signature, key, issuer, audience, times. No database.

`python -m bench.ours.token_check <seconds>` with the service's settings; prints the sample as JSON.
"""

import json
import os
import sys
import time
from dataclasses import asdict

import django

django.setup()

import jwt  # noqa: E402 - the rest needs the settings
from django.conf import settings  # noqa: E402

from bench.measure import Meter, Step, run_steps  # noqa: E402
from dj_wallet.identity.tokens import get_issuers, get_key_id, verify_token  # noqa: E402


def make_check() -> Step:
    pem = settings.WALLET_SIGNING_KEYS[0]
    now = int(time.time())
    claims = {
        "iss": settings.WALLET_ISSUER,
        "aud": settings.WALLET_AUDIENCE,
        "sub": "019ab000-0000-7000-8000-000000000000",
        "client_id": "bench",
        "iat": now,
        "exp": now + 3600,
        "jti": "0" * 32,
        "token_use": "access",
        "scope": "wallets:read transfers:write",
    }
    text = jwt.encode(claims, pem, algorithm="RS256", headers={"kid": get_key_id(pem)})

    def check() -> int:
        verify_token(text, get_issuers())
        return 1

    return check


if __name__ == "__main__":
    meter = Meter(os.environ["DATABASE_URL"], int(os.environ["BENCH_POSTMASTER_PID"]))
    print(json.dumps(asdict(run_steps(meter, [make_check()], float(sys.argv[1])))))
