"""Documentation that can fail: settings, commands, routes, links, named tests, and every example run.

A fenced block marked `python` runs, in order and in one namespace per file, on the test database; `python no-run`
marks one that cannot. The comment behind a `print` is what it must print.
"""

import ast
import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from dj_wallet.conf import DEFAULTS
from tests.testapp.models import Organization, Person
from wallet_service import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference"
CONTRACTS = [ROOT / "docs" / "seeds.md", ROOT / "docs" / "concepts.md"]

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)
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
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
            continue
        if ast.unparse(node.func) in {"env", "env_list", "env_int", "os.environ.get"}:
            found.add(node.args[0].value)
    return found


def list_options_variables() -> set[str]:
    """Return the environment variables that the help of `wallet up` names."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        cli.main(["up", "--help"])
    return set(re.findall(r"\b(?:WALLET_|DATABASE_|REDIS_|BROKER_|BANK_)[A-Z_]+\b", shown.getvalue()))


def test_every_setting_of_the_library_is_documented():
    assert list_names(REFERENCE / "settings.md", "## DJ_WALLET") == set(DEFAULTS)


def test_every_default_of_the_library_is_documented():
    section = read_section(REFERENCE / "settings.md", "## DJ_WALLET")
    for setting, default in DEFAULTS.items():
        assert re.search(rf"^\| `{setting}` \| `{re.escape(str(default))}` \|", section, re.MULTILINE), setting


def test_every_variable_of_the_service_is_documented():
    read = list_variables_read(ROOT / "src" / "wallet_service" / "settings.py")
    assert list_names(REFERENCE / "settings.md", "## The service") == read


def test_every_variable_of_wallet_up_is_documented():
    servers = {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "BANK_URL"}
    assert list_names(REFERENCE / "settings.md", "## `wallet up`") == list_options_variables() - servers


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
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        cli.main(["up", "--help"])
    options = set(re.findall(r"^  (--[a-z-]+)", shown.getvalue(), re.MULTILINE))
    section = list_names(REFERENCE / "commands.md", "## wallet")
    assert {option.split()[0] for option in section if option.startswith("--")} == options


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


def test_every_route_is_documented():
    routes = {without_names(route) for route in list_routes(get_resolver().url_patterns)}
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
        if re.fullmatch(r"(src|tests|docs|bench|requirements|services|examples|deploy)/[\w./-]*", file):
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
                assert re.search(rf"\b(def|class|function) {part}\b|^{part}\b", source, re.MULTILINE), f"{file}::{inner}"


def test_the_contract_says_of_every_promise_where_it_is_kept():
    for row in re.findall(r"^\|.*\|$", (ROOT / "docs" / "seeds.md").read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 3, row
        assert all(cells), row
        assert cells[2] != "-" or "issue" in cells[1] or cells[1].startswith("here"), row


# Examples


def list_examples(path: Path) -> list[str]:
    return [body for language, body in FENCE.findall(path.read_text()) if language.strip() == "python"]


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
        assert shown.getvalue().splitlines() == PRINTED.findall(example), f"{name(path)}, example {number}"


# What no committed file may name


def list_texts() -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(ROOT):
        if Path(folder) == ROOT:
            files = [file for file in files if file != ".env"]
        folders[:] = [
            one for one in folders if (not one.startswith(".") or one == ".ci") and one not in {"out", "__pycache__"}
        ]
        for file in files:
            with contextlib.suppress(UnicodeDecodeError):
                yield Path(folder, file), Path(folder, file).read_text()


@pytest.mark.parametrize(
    ("what", "is_named"),
    [
        ("a package index", re.compile(r"(?<!no-emit)-(extra-)?index-url|(?<!no-emit)-find-links").search),
        ("a package index", re.compile(r"://[^\s\"'`<>]*/simple\b").search),
        ("a download", re.compile(r"://[^\s\"'`<>]*\.(whl|tar\.gz|deb|zip)\b").search),
        ("the folder of this checkout", lambda text: str(ROOT) in text if len(ROOT.parts) > 2 else False),
    ],
)
def test_no_file_names(what: str, is_named: Callable[[str], object]):
    assert [name(path) for path, text in list_texts() if path != Path(__file__) and is_named(text)] == []
