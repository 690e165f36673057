"""Health, readiness, request ids, documentation, and errors outside of the views."""

import json
import logging
import re
import socket

import pytest
from celery import current_app
from django.contrib.staticfiles import finders
from django.db import connections
from django.test import Client

from dj_wallet.rest.document import render_document
from dj_wallet.rest.middleware import RequestIdFilter
from tests.rest.api import Api, get_document


@pytest.fixture
def broker_at(monkeypatch):
    """A function that points the broker's address at a port."""

    def point(port: int) -> None:
        monkeypatch.setattr(current_app.conf, "broker_url", f"redis://127.0.0.1:{port}/0")

    return point


@pytest.fixture
def no_port():
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_health_asks_nobody(django_assert_num_queries, db):
    with django_assert_num_queries(0):
        answer = Api(None).get("/healthz")
    assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_readiness_names_a_broker_that_is_away(db, broker_at, no_port):
    broker_at(no_port)
    answer = Api(None).get("/readyz")
    assert answer.status == 503
    assert answer.body == {
        "status": "unavailable",
        "database": "ok",
        "broker": "unreachable",
        "networks": [],
    }


def test_readiness_names_a_database_that_is_away(db, broker_at, no_port, monkeypatch):
    broker_at(no_port)
    elsewhere = connections["default"].copy()
    elsewhere.settings_dict = elsewhere.settings_dict | {"HOST": "127.0.0.1", "PORT": str(no_port)}
    monkeypatch.setattr("dj_wallet.rest.health.connection", elsewhere)
    answer = Api(None).get("/readyz")
    assert answer.status == 503
    assert answer.body["database"] == "unreachable"


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_a_503_with_a_time_to_wait(api, no_port):
    connection = connections["default"]
    settings, api.client = connection.settings_dict, Client()
    connection.close()
    connection.settings_dict = settings | {"HOST": "127.0.0.1", "PORT": str(no_port)}
    try:
        answers = [api.get("/wallets/"), api.post("/api/v1/transfers", {}, key="k")]
    finally:
        connection.settings_dict = settings
    for answer in answers:
        assert (answer.status, answer.code) == (503, "database_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert str(no_port) not in str(answer.body)
    assert api.get("/wallets/").status == 200


def test_a_request_id_goes_in_and_out(db):
    assert (
        Api(None).get("/healthz", **{"X-Request-ID": "order-1.a_B"}).headers["X-Request-ID"]
        == "order-1.a_B"
    )


@pytest.mark.parametrize(
    "given", [None, "", "a b", "x" * 65, "a\x0bb", "\u00e9t\u00e9", "<script>"]
)
def test_another_request_id_is_replaced(db, given):
    headers = {} if given is None else {"X-Request-ID": given}
    assert re.fullmatch(
        r"[0-9a-f]{32}", Api(None).get("/healthz", **headers).headers["X-Request-ID"]
    )


def test_log_lines_carry_the_request_id(db):
    Api(None).get("/healthz", **{"X-Request-ID": "abc"})
    record = logging.makeLogRecord({})
    assert RequestIdFilter().filter(record)
    assert record.request_id == "abc"


def test_a_path_that_leads_nowhere_is_json(db):
    for path in ("/", "/nope", "/wallets/x/y", "/api/v1/", "/static/nope.js", "/administration/"):
        answer = Api(None).get(path)
        assert (answer.status, answer.code) == (404, "not_found")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", answer.body["error"]["timestamp"])


def test_a_host_that_is_not_ours_is_refused_in_json(db):
    response = Client().get("/healthz", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"


def test_html_is_not_on_offer(db, api):
    answer = api.get("/wallets/", Accept="text/html")
    assert (answer.status, answer.code) == (406, "not_acceptable")
    assert api.get("/wallets/", Accept="text/html, */*;q=0.1").status == 200


def test_a_body_of_unknown_length_is_refused(db, api, unchanged):
    answer = api.post("/wallets/", Transfer_Encoding="chunked")
    assert (answer.status, answer.code) == (411, "length_required")


def test_the_schema_is_openapi_3_1_and_describes_every_error(db):
    response = Client().get("/api/schema/", headers={"Accept": "application/json"})
    document = json.loads(response.content)
    assert document["openapi"] == "3.1.0"
    assert document["paths"].keys() == get_document()["paths"].keys()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            errors = {status for status in operation["responses"] if status >= "400"}
            if "security" in operation:
                assert {"401", "429", "500", "503"} <= errors, path
                assert {"bearer": []} in operation["security"]
            for status in errors - ({"503"} if path == "/readyz" else set()):
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}


def test_the_documentation_page_needs_no_other_server(db):
    page = Client().get("/api/docs/").content.decode()
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(loaded) == 5
    assert "://" not in page
    script = loaded.pop()
    assert Client().get(script)["Content-Type"].startswith("application/javascript")
    for address in loaded:
        assert finders.find(address.removeprefix("/static/")), address


def test_the_documentation_page_loads_under_its_own_policy(db):
    """What a browser would block, and leave the page blank: scripts in the page itself, or from elsewhere."""
    answer = Client().get("/api/docs/")
    policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
    page = answer.content.decode()
    assert (policy["script-src"], policy["connect-src"]) == ("'self'", "'self'")
    assert re.findall(r"<script(?![^>]*\ssrc=\"/)|\son\w+=|javascript:", page) == []
    scripts = re.findall(r"<script src=\"([^\"]+)\"", page)
    assert len(scripts) == 3
    text = Client().get(scripts[-1]).content.decode()
    assert "eval(" not in text
    (address,) = re.findall(r'url: "([^"]+)"', text)
    document = Client().get(json.loads(f'"{address}"')).content
    assert json.loads(document)["openapi"] == "3.1.0"


def test_the_document_is_made_once_by_a_process(db):
    for _ in range(2):
        assert Client().get("/api/schema/?format=json").status_code == 200
    before = render_document.cache_info().misses
    assert Client().get("/api/schema/?format=json").status_code == 200
    assert render_document.cache_info().misses == before
