"""Whether a run of the tests was as large as it has to be.

usage: check_counts.py TABLE PYTHON SELECTION REPORT

REPORT is pytest's (--junitxml). TABLE has a line for each Python ("any": for those without one)
and selection of tests:

    python  selection  passed  cpython  skipped

at least so many tests pass, and of those in test_cpython_suite.py; at most so many are skipped.
Prints one line, and exits with 1 unless all three hold and nothing failed.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def outcome(case):
    """What a test came to, as pytest's report says it."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    return "expected" if skipped.get("type") == "pytest.xfail" else "skipped"


def count(report):
    counts = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        what = outcome(case)
        counts[what] += 1
        if re.search(r"\btest_cpython_suite\b", case.get("classname", "")):
            counts["cpython", what] += 1
    return counts


def limits(table, python, selection):
    """(passed, cpython, skipped) of the Python's line, or of that for any."""
    found = {}
    for line in Path(table).read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            key, numbers = tuple(words[:2]), tuple(map(int, words[2:]))
            if len(numbers) != 3 or key in found:
                raise SystemExit(f"{table}: not a line of its own with three numbers: {line}")
            found[key] = numbers
    try:
        return found.get((python, selection)) or found["any", selection]
    except KeyError:
        raise SystemExit(f"{table} has no line for Python {python}, {selection}") from None


def main(table, python, selection, report):
    title = f"Python {python}, {selection}"
    least, least_cpython, most_skipped = limits(table, python, selection)
    try:
        counts = count(report)
    except (OSError, ElementTree.ParseError):
        print(f"{title}: NO REPORT, the tests did not run to their end")
        return 1
    cpython = counts["cpython", "passed"]
    print(
        f"{title}: {counts['passed']} passed (at least {least}), "
        f"{cpython} of CPython's own (at least {least_cpython}), "
        f"{counts['skipped']} skipped (at most {most_skipped}), "
        f"{counts['expected']} fail as expected, {counts['failed']} failed",
        end="",
    )
    wrong = {
        "TOO FEW PASSED": counts["passed"] < least,
        "TOO FEW OF CPYTHON'S OWN": cpython < least_cpython,
        "TOO MANY SKIPPED": counts["skipped"] > most_skipped,
        "FAILURES": counts["failed"] > 0,
    }
    named = [text for text, is_so in wrong.items() if is_so]
    print(f": {', '.join(named)}" if named else "")
    return int(bool(named))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
