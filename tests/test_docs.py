"""Documentation that can fail: settings, commands, routes, links, named tests, and every example run.

A fenced block marked `python` runs, in order and in one namespace per file, on the test database; `python no-run`
marks one that cannot. The comment behind a `print` is what it must print; lines
that begin with `#>` are for prints in loops.
"""

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from dj_wallet.conf import DEFAULTS
from dj_wallet.ledger.engine import Kind
from dj_wallet.models import LedgerEntry
from tests.testapp.models import Organization, Person
from wallet_service import cli
from wallet_service.demo import list_curl_lines

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(r"^(?:\s*(?:print\(.*)?\)  # |# ?> )(.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FIRST_CELL = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read_section(path: Path, heading: str) -> str:
    """Return the text under a heading, up to the next heading of its level."""
    text = path.read_text()
    level = heading.split()[0]
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    end = re.search(rf"^{level} ", text[start:], re.MULTILINE)
    return text[start : start + end.start()] if end else text[start:]


def list_names(path: Path, heading: str) -> set[str]:
    """Return what the tables of a section describe: the code in the first cell of each row."""
    return set(FIRST_CELL.findall(read_section(path, heading)))


# Settings


def list_variables_read(source: Path) -> set[str]:
    """Return the environment variables that a module reads by their names."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if not (
            isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        ):
            continue
        if ast.unparse(node.func) in {
            "env",
            "env_list",
            "env_int",
            "env_bool",
            "env_json",
            "os.environ.get",
        }:
            found.add(node.args[0].value)
    return found


def show_help() -> str:
    """Return what `wallet up --help` prints where lines are long enough for every name."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
            cli.main(["up", "--help"])
    return shown.getvalue()


def test_every_setting_of_the_library_is_documented():
    assert list_names(REFERENCE / "settings.md", "## DJ_WALLET") == set(DEFAULTS)


def test_every_default_of_the_library_is_documented():
    section = read_section(REFERENCE / "settings.md", "## DJ_WALLET")
    for setting, default in DEFAULTS.items():
        assert re.search(
            rf"^\| `{setting}` \| `{re.escape(str(default))}` \|", section, re.MULTILINE
        ), setting


def test_every_variable_of_the_service_is_documented():
    read = list_variables_read(ROOT / "src" / "wallet_service" / "settings.py")
    assert list_names(REFERENCE / "settings.md", "## The service") == read


def test_every_variable_of_vault_is_documented():
    source = (ROOT / "src" / "wallet_service" / "environment.py").read_text()
    named = list_names(REFERENCE / "settings.md", "## Where variables come from")
    assert named == set(re.findall(r"\bVAULT_[A-Z_]+\b", source))


def test_every_variable_of_wallet_up_is_documented():
    variables = set(re.findall(r"\bWALLET_[A-Z_]+\b", show_help()))
    assert list_names(REFERENCE / "settings.md", "## `wallet up`") == variables


def load_production_settings(**variables: str) -> subprocess.CompletedProcess[str]:
    """Import the settings of a production process whose environment holds nothing but these."""
    return subprocess.run(
        [sys.executable, "-c", "import wallet_service.settings"],
        env={"WALLET_ENV": "production", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


PRODUCTION = {
    "SECRET_KEY": "something long that nobody guesses",
    "DATABASE_URL": "postgresql://wallet@db/wallet",
    "ALLOWED_HOSTS": "wallets.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://wallets.example.com",
}


def test_every_variable_required_in_production_stops_the_start():
    rows = list_rows_of(read_section(REFERENCE / "settings.md", "## The service"))
    required = {row[0].strip("`") for row in rows if row[2].startswith("required")}
    assert required == set(PRODUCTION)
    assert load_production_settings(**PRODUCTION).returncode == 0
    for variable in required:
        stopped = load_production_settings(**{**PRODUCTION, variable: ""})
        assert stopped.returncode != 0
        assert f"{variable} must be set" in stopped.stderr


def test_a_wildcard_host_stops_the_start_in_production():
    stopped = load_production_settings(**{**PRODUCTION, "ALLOWED_HOSTS": "a.example.com,*"})
    assert "ALLOWED_HOSTS" in stopped.stderr.splitlines()[-1]


def test_the_service_takes_no_other_database():
    stopped = load_production_settings(**{**PRODUCTION, "DATABASE_URL": "sqlite:///wallets"})
    assert "PostgreSQL" in stopped.stderr.splitlines()[-1]


# Commands


def list_management_commands() -> set[str]:
    files = (ROOT / "src").glob("*/**/management/commands/*.py")
    return {file.stem for file in files if not file.stem.startswith("_")}


def list_make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_management_command_is_documented():
    section = list_names(REFERENCE / "commands.md", "## manage.py")
    assert {command.split()[0] for command in section} == list_management_commands()


def test_every_make_target_is_documented():
    section = list_names(REFERENCE / "commands.md", "## make")
    assert {target.removeprefix("make ") for target in section} == list_make_targets()


def test_every_option_of_wallet_up_is_documented():
    options = set(re.findall(r"^  (--[a-z-]+)", show_help(), re.MULTILINE))
    assert list_names(REFERENCE / "commands.md", "## wallet") == options


# Routes


def list_routes(patterns: list[URLPattern | URLResolver], start: str = "/") -> Iterator[str]:
    for pattern in patterns:
        route = start + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from list_routes(pattern.url_patterns, route)
        else:
            yield route


def without_names(route: str) -> str:
    """Return the route as it is whatever its parameters are called; every path answers with and without a slash."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "{}", route).rstrip("/")


# Of allauth and Django, with documentation of their own; docs/guides/identity.md says what they are here.
PACKAGES = ("/admin", "/accounts", "/_allauth", "/identity/o", "/.well-known")


def test_every_route_is_documented():
    listed = {without_names(route) for route in list_routes(get_resolver().url_patterns)}
    routes = {route for route in listed if not route.startswith(PACKAGES)}
    rows = FIRST_CELL.findall((REFERENCE / "rest.md").read_text())
    documented = {without_names(row.split(" ")[1]) for row in rows if " /" in row}
    assert documented == routes


# Links and names


def list_links(path: Path) -> list[str]:
    text = FENCE.sub("", path.read_text())
    return [target for target in LINK.findall(text) if "://" not in target]


def list_anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_every_link_leads_somewhere(path):
    for link in list_links(path):
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), link
        if anchor:
            assert anchor in list_anchors(there), link


def list_named(path: Path) -> Iterator[tuple[str, str]]:
    """Return the files of ours that code spans name, each with the name behind `::` or an empty one."""
    for span in CODE.findall(FENCE.sub("", path.read_text())):
        file, _, inner = span.partition("::")
        if re.fullmatch(r"(src|tests|docs|bench(?!/out)|requirements)/[\w./-]*", file):
            yield file, inner


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_every_file_named_exists(path):
    for file, _ in list_named(path):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_every_test_and_function_named_is_in_its_file(path):
    for file, inner in list_named(path):
        if inner:
            source = (ROOT / file).read_text()
            for part in inner.split("."):
                assert re.search(
                    rf"\b(def|class|function) {part}\b|^{part}\b", source, re.MULTILINE
                ), f"{file}::{inner}"


def test_every_name_of_ours_in_the_laravel_table_exists():
    sources = "".join(path.read_text() for path in (ROOT / "src" / "dj_wallet").rglob("*.py"))
    known = set(re.findall(r"\w+", sources)) | {"user"}
    for _, ours in list_rows(ROOT / "docs" / "coming-from-laravel-wallet.md"):
        for span in CODE.findall(ours):
            assert set(re.findall(r"[a-zA-Z_]\w+", span)) <= known, span


def list_rows(path: Path) -> list[list[str]]:
    return list_rows_of(path.read_text())


def list_rows_of(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables, without those of their heads."""
    rows = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    heads = {at - 1 for at, row in enumerate(rows) if set(row) <= set("-|")}
    return [
        [cell.strip() for cell in row.split(" | ")]
        for at, row in enumerate(rows)
        if at not in heads and at - 1 not in heads
    ]


def test_the_contract_says_of_every_promise_where_it_is_kept():
    for promise, where, proof in list_rows(ROOT / "docs" / "seeds.md"):
        assert promise
        assert "`tests/" in proof or (proof == "-" and "issue" in where), promise


def test_every_invariant_has_its_place_and_its_proof():
    section = read_section(ROOT / "docs" / "concepts.md", "## The invariants")
    for invariant, where, proof in list_rows_of(section):
        assert "`src/" in where, invariant
        assert "`tests/" in proof, invariant


@pytest.mark.parametrize("path", DECISIONS, ids=name)
def test_every_decision_has_its_parts_and_is_listed(path):
    text = path.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences"]
    assert re.search(r"^Status: (accepted|superseded by \[\d{4}\])", text, re.MULTILINE)
    assert 25 <= len(text.splitlines()) <= 60
    assert f"]({path.name})" in (path.parent / "README.md").read_text()


def test_the_ledger_speaks_the_words_of_seed_001():
    fields = {field.name for field in LedgerEntry._meta.get_fields()}
    assert {
        "entry_type",
        "debit",
        "credit",
        "balance_after",
        "created_at",
        "idempotency_key",
    } <= fields
    assert {"reference_type", "reference_id"} <= fields
    kinds = "DEPOSIT WITHDRAWAL BID_LOCK BID_UNLOCK ESCROW_LOCK SALE_CREDIT FEE_DEBIT REFUND"
    assert set(kinds.split()) <= set(Kind)


# Examples


def list_examples(path: Path) -> list[str]:
    return [
        body for language, body in FENCE.findall(path.read_text()) if language.strip() == "python"
    ]


EXAMPLES = [path for path in DOCS if list_examples(path)]


@pytest.fixture
def prelude(db: None) -> dict[str, Any]:
    """What the examples take for granted: two people with wallets."""
    return {
        "Person": Person,
        "Organization": Organization,
        "alice": Person.objects.create(name="alice"),
        "bob": Person.objects.create(name="bob"),
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_every_example_runs_and_prints_what_it_says(path, prelude):
    for number, example in enumerate(list_examples(path), 1):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(example, f"{name(path)}, example {number}", "exec"), prelude)
        assert shown.getvalue().splitlines() == PRINTED.findall(example), (
            f"{name(path)}, example {number}"
        )


def test_the_readme_shows_the_lines_that_the_start_prints():
    own, other = SimpleNamespace(uuid="ALICE"), SimpleNamespace(uuid="BOB")
    lines = list_curl_lines("http://127.0.0.1:8000", "KEY", own, other)
    assert "\n".join(lines) in (ROOT / "README.md").read_text()


# What no committed file may name


def list_texts() -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            one
            for one in folders
            if (not one.startswith(".") or one == ".ci") and one not in {"out", "__pycache__"}
        ]
        for file in files:
            with contextlib.suppress(UnicodeDecodeError):
                yield Path(folder, file), Path(folder, file).read_text()


@pytest.mark.parametrize(
    ("what", "is_named"),
    [
        (
            "a package index",
            re.compile(r"(?<!no-emit)-(extra-)?index-url|(?<!no-emit)-find-links").search,
        ),
        ("a package index", re.compile(r"://[^\s\"'`<>]*/simple\b").search),
        ("a download", re.compile(r"://[^\s\"'`<>]*\.(whl|tar\.gz|deb|zip)\b").search),
        (
            "the folder of this checkout",
            lambda text: str(ROOT) in text if len(ROOT.parts) > 2 else False,
        ),
    ],
)
def test_no_file_names(what: str, is_named: Callable[[str], object]):
    assert [
        name(path) for path, text in list_texts() if path != Path(__file__) and is_named(text)
    ] == []
