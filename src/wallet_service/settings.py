"""Settings of the service, flat, from the environment (`environment` says where else they may come from).

Development values are the defaults of `make run`, which passes the addresses of the servers it started.
With WALLET_ENV=production nothing has a default that could be guessed: missing variables stop the start.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from wallet_service.environment import env, env_bool, env_int, env_json, env_list, require


def parse_email_url(url: str) -> dict[str, Any]:
    """Translate smtp://user:password@host:port, smtps://... (TLS) or console:// into Django's form.

    :raises ImproperlyConfigured: for any other scheme
    """
    parts = urlsplit(url)
    if parts.scheme not in {"smtp", "smtps", "console"}:
        raise ImproperlyConfigured(
            "WALLET_EMAIL_URL must begin with smtp://, smtps:// or console://."
        )
    backend = "console" if parts.scheme == "console" else "smtp"
    return {
        "EMAIL_BACKEND": f"django.core.mail.backends.{backend}.EmailBackend",
        "EMAIL_HOST": parts.hostname or "localhost",
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 10,
    }


def parse_database_url(url: str) -> dict[str, Any]:
    """Translate postgresql://user:password@host:port/name?option=value into Django's form.

    :raises ImproperlyConfigured: for any other scheme, the service needs PostgreSQL
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must name a PostgreSQL database (postgresql://...)."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **dict(parse_qsl(parts.query)),
            "server_side_binding": True,
            "prepare_threshold": 5,
            "pool": {"min_size": 1, "max_size": env_int("DATABASE_POOL_SIZE", 16), "timeout": 10},
        },
    }


PRODUCTION = env("WALLET_ENV", "development") == "production"
if PRODUCTION:
    require("SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")
DEVELOPMENT_ONLY = None if PRODUCTION else "development-only-not-a-secret"

DEBUG = False
SECRET_KEY = env("SECRET_KEY", DEVELOPMENT_ONLY)
# Older ones: what they signed and sealed can still be read.
SECRET_KEY_FALLBACKS = env_list("SECRET_KEY_FALLBACKS", "")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", None if PRODUCTION else "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", None if PRODUCTION else "http://localhost")
if PRODUCTION and any("*" in host for host in ALLOWED_HOSTS):
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS must name its hosts: a wildcard is not allowed in production."
    )

# The admin's theme must stand before the admin. Without the package (extra `admin`) it looks like Django's own.
THEME_APPS = ["unfold"] if find_spec("unfold") else []

INSTALLED_APPS = [
    *THEME_APPS,
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.headless",
    "allauth.idp.oidc",
    "dj_wallet",
    "dj_wallet.identity",
    "dj_wallet.events",
    "dj_wallet.ledger_service",
    "dj_wallet.payouts",
    "dj_wallet.custody",
    "dj_wallet.exchanges",
    "dj_wallet.rest",
    "wallet_service",
]
MIDDLEWARE = [
    "dj_wallet.rest.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "wallet_service.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "dj_wallet.identity.issuer.StaffConsentMiddleware",
    "dj_wallet.identity.issuer.InvalidTargetMiddleware",
    "wallet_service.pages.UnavailableMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# A system that runs alone serves its own paths only.
ROOT_URLCONF = env("WALLET_URLCONF", "wallet_service.urls")
WSGI_APPLICATION = "wallet_service.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Our pages' own templates come before those of allauth.
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": parse_database_url(
        env("DATABASE_URL", None if PRODUCTION else "postgresql://wallet@127.0.0.1:5432/wallet")
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Redis, shared by all processes: throttles of sign-in, codes of devices that sign in.
REDIS_URL = env("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "wallet",
    }
}

# Who signs in, and how: docs/guides/identity.md
AUTH_USER_MODEL = "dj_wallet_identity.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/accounts/"
LOGOUT_REDIRECT_URL = "/accounts/login/"
SESSION_COOKIE_AGE = 12 * 60 * 60
# In production nobody sees the admin, or what is others', without a second factor.
WALLET_REQUIRE_MFA = env_bool("WALLET_REQUIRE_MFA", default=PRODUCTION)
WALLET_SIGNUP_OPEN = env_bool("WALLET_SIGNUP_OPEN", default=True)
# How many proxies of ours add to X-Forwarded-For; addresses beyond them are whatever a client says.
ALLAUTH_TRUSTED_PROXY_COUNT = env_int("WALLET_TRUSTED_PROXIES", 0)

EMAIL_FROM = env("WALLET_EMAIL_FROM", "wallets@localhost")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = EMAIL_FROM
EMAIL_URL = env("WALLET_EMAIL_URL", "smtp://localhost:25" if PRODUCTION else "console://")
globals().update(parse_email_url(EMAIL_URL))

ACCOUNT_ADAPTER = "dj_wallet.identity.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if PRODUCTION else "http"
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_SESSION_REMEMBER = False
MFA_ADAPTER = "dj_wallet.identity.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "dj-wallets"
MFA_TOTP_TOLERANCE = 1
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Browsers give passkeys to http://localhost too, allauth only if told to.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not PRODUCTION
USERSESSIONS_TRACK_ACTIVITY = True
HEADLESS_CLIENTS = ("browser",)

# The issuer of tokens. Without signing keys there is none: its paths answer 404.
WALLET_URL = env(
    "WALLET_URL", f"https://{ALLOWED_HOSTS[0]}" if PRODUCTION else "http://127.0.0.1:8000"
)
WALLET_ISSUER = WALLET_URL.rstrip("/")
WALLET_AUDIENCE = env("WALLET_AUDIENCE", "dj-wallets")
# PEM texts one behind the other. The first signs; all are published and believed.
WALLET_SIGNING_KEYS = re.findall(
    r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", env("WALLET_SIGNING_KEYS", ""), re.DOTALL
)
IDP_OIDC_ADAPTER = "dj_wallet.identity.adapters.OIDCAdapter"
IDP_OIDC_PRIVATE_KEYS = [{"pem": pem} for pem in WALLET_SIGNING_KEYS]
IDP_OIDC_ACCESS_TOKEN_FORMAT = "jwt"  # noqa: S105 - a word
IDP_OIDC_ACCESS_TOKEN_EXPIRES_IN = 600
IDP_OIDC_REFRESH_TOKEN_EXPIRES_IN = 30 * 24 * 60 * 60
IDP_OIDC_ROTATE_REFRESH_TOKEN = True

# Another issuer that is believed as well, such as a realm of Keycloak.
WALLET_TRUSTED_ISSUER = env("WALLET_TRUSTED_ISSUER", "")
WALLET_TRUSTED_ISSUER_JWKS = env("WALLET_TRUSTED_ISSUER_JWKS", "")
WALLET_TRUSTED_ISSUER_AUDIENCE = env("WALLET_TRUSTED_ISSUER_AUDIENCE", WALLET_AUDIENCE)
WALLET_TRUSTED_ISSUER_SERVICES = env_list("WALLET_TRUSTED_ISSUER_SERVICES", "")
WALLET_TRUSTED_ISSUER_CREATES_USERS = env_bool("WALLET_TRUSTED_ISSUER_CREATES_USERS", default=False)
if WALLET_TRUSTED_ISSUER and not WALLET_TRUSTED_ISSUER_JWKS:
    raise ImproperlyConfigured("WALLET_TRUSTED_ISSUER needs WALLET_TRUSTED_ISSUER_JWKS.")
if WALLET_TRUSTED_ISSUER == WALLET_ISSUER:
    raise ImproperlyConfigured("WALLET_TRUSTED_ISSUER must be another issuer than ours.")

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"

# Everything a user can type is hostile: one megabyte is far above the largest legal batch.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

DJ_WALLET = {
    "DEFAULT_CURRENCY": env("WALLET_DEFAULT_CURRENCY", "USD"),
    "STEP_UP": "dj_wallet.identity.step_up.find_step_up",
}

# How long wallets and keys are kept in Redis if nothing changes. 0 keeps nothing.
WALLET_CACHE_SECONDS = env_int("WALLET_CACHE_SECONDS", 60)

# Of one user, and of one key, token or session. 0 counts nobody.
API_REQUESTS_PER_MINUTE = env_int("API_REQUESTS_PER_MINUTE", 6_000)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "dj_wallet.rest.authentication.ApiKeyAuthentication",
        "dj_wallet.rest.authentication.TokenAuthentication",
        "dj_wallet.rest.authentication.SignatureAuthentication",
        "dj_wallet.rest.authentication.BrowserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["dj_wallet.rest.rendered.ReadyJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["dj_wallet.rest.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "dj_wallet.rest.errors.handle_exception",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "dj-wallets",
    "DESCRIPTION": "Wallets over one double-entry ledger.",
    "VERSION": "0.2.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "BatchItemType": "dj_wallet.rest.schemas.ITEM_TYPES",
        "BatchItemStatus": "dj_wallet.rest.schemas.ITEM_STATUSES",
        "TransactionType": "dj_wallet.rest.schemas.TRANSACTION_TYPES",
        "TransactionStatus": "dj_wallet.rest.schemas.TRANSACTION_STATUSES",
        "PayoutStatus": "dj_wallet.rest.schemas.PAYOUT_STATUSES",
        "FetchStatus": "dj_wallet.rest.exchanges.schemas.FETCH_STATUSES",
        "Fine": "dj_wallet.rest.schemas.FINE",
        "DeliveryStatus": "dj_wallet.rest.events.schemas.DELIVERY_STATUSES",
        "HoldStatus": "dj_wallet.rest.holds.schemas.HOLD_STATUSES",
        "HoldAction": "dj_wallet.rest.holds.schemas.HOLD_ACTIONS",
        "EscrowStatus": "dj_wallet.rest.holds.schemas.ESCROW_STATUSES",
        "LockMode": "dj_wallet.rest.holds.schemas.LOCK_MODES",
        "PayoutFrequency": "dj_wallet.rest.payouts.schemas.FREQUENCIES",
        "RecurringPayoutStatus": "dj_wallet.rest.payouts.schemas.RECURRING_STATUSES",
        "WithdrawalStatus": "dj_wallet.rest.custody.schemas.WITHDRAWAL_STATUSES",
        "ChainState": "dj_wallet.rest.schemas.CHAIN_STATES",
        "EntryType": "dj_wallet.rest.custody.schemas.ENTRY_TYPES",
        "LedgerAccount": "dj_wallet.rest.custody.schemas.LEDGER_ACCOUNTS",
        "SyncStatus": "dj_wallet.rest.exchanges.schemas.SYNC_STATUSES",
        "SyncType": "dj_wallet.rest.exchanges.schemas.SYNC_TYPES",
        "AccountSyncStatus": "dj_wallet.rest.exchanges.schemas.ACCOUNT_SYNC_STATUSES",
        "DepositAddressState": "dj_wallet.rest.exchanges.schemas.ADDRESS_STATES",
        "ExchangeReachability": "dj_wallet.rest.exchanges.schemas.REACHED",
        "Readiness": "dj_wallet.rest.schemas.READINESS",
        "Reachability": "dj_wallet.rest.schemas.REACHABILITY",
    },
}

UNFOLD = {
    "SITE_TITLE": "dj-wallets",
    "SITE_HEADER": "dj-wallets",
    "SITE_SUBHEADER": "Operator console",
    "SITE_SYMBOL": "account_balance_wallet",
    "SHOW_VIEW_ON_SITE": False,
}

# The bank that withdrawals go to unless they name another; PAYOUT_BANKS adds more, as a JSON object by name.
PAYOUTS = {
    "BANKS": {
        "default": {
            "ADAPTER": env("BANK_ADAPTER", "dj_wallet.payouts.banks.plain.PlainBank"),
            "URL": env("BANK_URL", "http://127.0.0.1:8010/"),
            "TIMEOUT_SECONDS": env_int("BANK_TIMEOUT_SECONDS", 5),
            **env_json("BANK_OPTIONS"),
        },
        **env_json("PAYOUT_BANKS"),
    },
    "MAX_RETRIES": env_int("PAYOUT_MAX_RETRIES", 3),
    "BACKOFF_SECONDS": env_int("PAYOUT_BACKOFF_SECONDS", 10),
    "BACKOFF_MAX_SECONDS": env_int("PAYOUT_BACKOFF_MAX_SECONDS", 600),
    "REVIEW_AFTER_SECONDS": env_int("PAYOUT_REVIEW_AFTER_SECONDS", 86_400),
    "MAX_LAPSES": env_int("PAYOUT_MAX_LAPSES", 10),
    "LEASE_SLACK_SECONDS": env_int("PAYOUT_LEASE_SLACK_SECONDS", 5),
    "CIRCUIT_FAILURES": env_int("PAYOUT_CIRCUIT_FAILURES", 10),
    "CIRCUIT_SECONDS": env_int("PAYOUT_CIRCUIT_SECONDS", 10),
    "BATCH_SIZE": env_int("PAYOUT_BATCH_SIZE", 32),
}

# Where events go besides webhooks: eventbridge, rabbitmq.
EVENT_SINKS = env_list("WALLET_EVENT_SINKS", "")
EVENTBRIDGE_BUS = env("WALLET_EVENTBRIDGE_BUS", "default")
EVENTBRIDGE_REGION = env("WALLET_EVENTBRIDGE_REGION", "us-east-1")
EVENTBRIDGE_URL = env("WALLET_EVENTBRIDGE_URL", "")
EVENTS_AMQP_URL = env("WALLET_EVENTS_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
# A webhook's address is typed by a user: in production it cannot reach into our own network.
WEBHOOKS_TO_PRIVATE_ADDRESSES = not PRODUCTION
# NETWORK=xpub and NETWORK=url. Every process may know the public keys; the node's address is for those that ask it.
CUSTODY_XPUBS = env_list("CUSTODY_XPUBS", "")
CUSTODY_NODE_URLS = env_list("CUSTODY_NODE_URLS", "")
# Seals approved withdrawals; the signer has it too, the database has not. Where coins are real it is no other secret:
# whoever learns SECRET_KEY must not be able to approve.
CUSTODY_APPROVAL_SECRET = env(
    "CUSTODY_APPROVAL_SECRET", None if PRODUCTION and CUSTODY_XPUBS else SECRET_KEY
)

# Exchange accounts. Their credentials are sealed by the first provider of keys and opened by any of them.
EXCHANGES_KEY_PROVIDERS = env_list("WALLET_EXCHANGE_KEY_PROVIDERS", "environment")
EXCHANGES_KEY_OPTIONS = {
    "WALLET_EXCHANGE_KEYS": env("WALLET_EXCHANGE_KEYS", ""),
    "WALLET_EXCHANGE_AWS_KEY": env("WALLET_EXCHANGE_AWS_KEY", ""),
    "WALLET_EXCHANGE_AWS_REGION": env("WALLET_EXCHANGE_AWS_REGION", ""),
    "WALLET_EXCHANGE_VAULT_URL": env("WALLET_EXCHANGE_VAULT_URL", ""),
    "WALLET_EXCHANGE_VAULT_TOKEN": env("WALLET_EXCHANGE_VAULT_TOKEN", ""),
    "WALLET_EXCHANGE_VAULT_KEY": env("WALLET_EXCHANGE_VAULT_KEY", ""),
    "WALLET_EXCHANGE_PKCS11_MODULE": env("WALLET_EXCHANGE_PKCS11_MODULE", ""),
    "WALLET_EXCHANGE_PKCS11_TOKEN": env("WALLET_EXCHANGE_PKCS11_TOKEN", ""),
    "WALLET_EXCHANGE_PKCS11_PIN": env("WALLET_EXCHANGE_PKCS11_PIN", ""),
    "WALLET_EXCHANGE_PKCS11_KEY": env("WALLET_EXCHANGE_PKCS11_KEY", ""),
}
# Tells API keys apart and stored addresses from changed ones: a new one makes every stored address look changed.
EXCHANGES_SECRET = env("WALLET_EXCHANGE_SECRET", SECRET_KEY)
# refuse or warn: what happens to keys that may withdraw.
EXCHANGES_PERMISSION_POLICY = env("WALLET_EXCHANGE_PERMISSION_POLICY", "refuse")
EXCHANGES_EGRESS_IPS = env_list("WALLET_EXCHANGE_EGRESS_IPS", "")
EXCHANGES_SYNC_EVERY_SECONDS = env_int("WALLET_EXCHANGE_SYNC_EVERY_SECONDS", 21_600)
EXCHANGES_SYNC_BUDGET_SECONDS = env_int("WALLET_EXCHANGE_SYNC_BUDGET_SECONDS", 20)
# Fewer than there are task processes, so that payouts never wait for exchanges.
EXCHANGES_SYNCS_AT_ONCE = env_int("WALLET_EXCHANGE_SYNCS_AT_ONCE", 1)
EXCHANGES_FETCH_SECONDS = env_int("WALLET_EXCHANGE_FETCH_SECONDS", 2)
EXCHANGES_TEST_SECONDS = env_int("WALLET_EXCHANGE_TEST_SECONDS", 5)
EXCHANGES_ADDRESS_FRESH_SECONDS = env_int("WALLET_EXCHANGE_ADDRESS_FRESH_SECONDS", 86_400)

# A lost, doubled or late message loses and doubles nothing: rows are the queue, Celery is the doorbell.
CELERY_BROKER_URL = env("BROKER_URL", REDIS_URL)

# Redis keeps the exchanges' limits for all processes; the address is the one that venues see us under.
EXCHANGES_REDIS_URL = env("EXCHANGES_REDIS_URL", REDIS_URL)
EXCHANGES_EGRESS = env("EXCHANGES_EGRESS", "default")
EXCHANGES_MAX_CLIENTS = env_int("EXCHANGES_MAX_CLIENTS", 500)
EXCHANGES_SANDBOX_ADDRESS = env("EXCHANGES_SANDBOX_ADDRESS", "")
EXCHANGES_SANDBOX_CA_FILE = env("EXCHANGES_SANDBOX_CA_FILE", "")

CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# kombu looks for lost messages every interval x throttle seconds, whatever visibility_timeout says.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    # A web request that rings for a worker tries once: a broker that is away must not keep it.
    "max_retries": 0,
    "interval_start": 0,
    "socket_connect_timeout": 2,
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "execute-due-payouts": {
        "task": "dj_wallet.payouts.execute_due_payouts",
        "schedule": float(env_int("PAYOUT_SWEEP_SECONDS", 10)),
    },
    "relay-events": {"task": "dj_wallet.events.relay_events", "schedule": 1.0},
    "checkpoint-system-balances": {
        "task": "dj_wallet.checkpoint_system_balances",
        "schedule": 60.0,
    },
    "expire-holds": {"task": "dj_wallet.expire_holds", "schedule": 10.0},
    "expire-lots": {"task": "dj_wallet.expire_lots", "schedule": 60.0},
    "forget-expired": {"task": "dj_wallet.identity.forget_expired", "schedule": 3600.0},
    "sync-exchange-accounts": {"task": "dj_wallet.exchanges.run_queued_syncs", "schedule": 10.0},
    "check-exchange-keys": {"task": "dj_wallet.exchanges.check_credentials", "schedule": 60.0},
    "check-address-seals": {"task": "dj_wallet.exchanges.check_seals", "schedule": 3600.0},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "dj_wallet.rest.middleware.RequestIdFilter"}},
    "formatters": {
        "line": {
            "()": "wallet_service.logs.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        },
        "json": {"()": "wallet_service.logs.JsonFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": env("WALLET_LOG_FORMAT", "json" if PRODUCTION else "line"),
            "filters": ["request_id"],
        }
    },
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", "INFO")},
    # httpx logs addresses of banks and nodes at INFO, some with credentials.
    "loggers": {"httpx": {"level": "WARNING"}},
}

# What pages may load, by the start of their path; the longest start counts.
WALLET_CSP = {
    "/": {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
}
# The theme of the admin has expressions in its markup, which Alpine evaluates.
WALLET_CSP["/admin/"] = {**WALLET_CSP["/"], "script-src": "'self' 'unsafe-eval'"}
# A browser follows the answer to a consent on to the program that asked for it.
WALLET_CSP["/identity/o/"] = {
    name: sources for name, sources in WALLET_CSP["/"].items() if name != "form-action"
}
CSRF_FAILURE_VIEW = "wallet_service.pages.answer_csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

if PRODUCTION:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
