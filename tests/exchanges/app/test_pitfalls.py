"""The guide's table of pitfalls names a test for each of the 38, and the tests exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "guides" / "exchanges.md").read_text()


def test_each_of_the_38_pitfalls_has_a_test_that_exists():
    rows = re.findall(r"^\| (\d+)\. [^|]+ \| (.*) \|$", GUIDE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 39))
    for number, cell in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cell)
        assert named, number
        for file, name in named:
            assert f"def {name}(" in (ROOT / file).read_text(), (number, name)
