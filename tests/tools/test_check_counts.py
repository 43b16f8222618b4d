"""tools/check_counts.py: what pytest reports, beside what has to run."""

import pathlib
import shutil
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "tools" / "check_counts.py"

EACH_OUTCOME = """
import unittest
import pytest

class Tests(unittest.TestCase):
    def test_passes(self):
        for i in range(3):
            with self.subTest(i=i):
                pass

    def test_is_skipped(self):
        self.skipTest("why")

    def test_part_is_skipped(self):
        for i in range(3):
            with self.subTest(i=i):
                if i == 1:
                    self.skipTest("why")

    def test_part_fails(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertNotEqual(i, 1)

    def test_fails_with_text_that_nothing_encodes(self):
        with self.subTest(name="\\udbff"):
            self.fail("\\udbff")

@pytest.mark.parametrize("i", range(4))
def test_passes(i):
    pass

def test_fails_as_expected():
    pytest.xfail("why")

@pytest.mark.xfail(strict=True)
def test_passes_unexpectedly():
    pass

@pytest.fixture
def teardown_fails():
    yield
    raise ValueError

def test_fails_afterwards(teardown_fails):
    pass
"""
# As (passed, cpython, skipped, as expected, failed), from the two files of which one is this.
COUNTS = (10, 5, 4, 2, 8)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of a run with processes side by side, as make test does it."""
    directory = tmp_path_factory.mktemp("run")
    for name in ("test_cpython_suite.py", "test_more.py"):
        (directory / name).write_text(EACH_OUTCOME)
    shutil.copy(PROJECT / "tests/conftest.py", directory)
    path = directory / "out/report.xml"
    command = [sys.executable, "-m", "pytest", "-n", "2", "--rootdir", directory, "-c", "/dev/null"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--junitxml={path}", directory],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return path


def check(table, report, python="3.14", selection="test-base"):
    return subprocess.run(
        [sys.executable, SCRIPT, table, python, selection, report],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_outcome_is_counted(report, tmp_path):
    (tmp_path / "table").write_text("3.14 test-base 10 5 4\n")
    done = check(tmp_path / "table", report)
    passed, cpython, skipped, expected, failed = COUNTS
    assert done.stdout == (
        f"Python 3.14, test-base: {passed} passed (at least 10), {cpython} of CPython's own "
        f"(at least 5), {skipped} skipped (at most 4), {expected} fail as expected, "
        f"{failed} failed: FAILURES\n"
    )
    assert (done.returncode, done.stderr) == (1, "")


CASE = '<testcase classname="tests.test_cpython_suite.Tests" name="a{}">{}</testcase>'
REPORT = "".join(
    [
        "<testsuites><testsuite>",
        *(CASE.format(i, "") for i in range(3)),
        CASE.replace("cpython_suite", "others").format(3, ""),
        CASE.format(4, '<skipped type="pytest.skip" message="why"/>'),
        CASE.format(5, '<skipped type="pytest.xfail" message="why"/>'),
        "</testsuite></testsuites>",
    ]
)


@pytest.mark.parametrize(
    "numbers, complaint",
    [
        ("4 3 1", None),
        ("0 0 9", None),
        ("5 3 1", "TOO FEW PASSED"),
        ("4 4 1", "TOO FEW OF CPYTHON'S OWN"),
        ("4 3 0", "TOO MANY SKIPPED"),
        ("5 4 0", "TOO FEW PASSED, TOO FEW OF CPYTHON'S OWN, TOO MANY SKIPPED"),
    ],
)
def test_limits_are_held(numbers, complaint, tmp_path):
    (tmp_path / "table").write_text(
        f"# a comment\n\n3.13 test-base 9 9 0\n3.14 test-base {numbers}  # why\n"
        "any test-base 0 0 9\n"
    )
    (tmp_path / "report.xml").write_text(REPORT)
    done = check(tmp_path / "table", tmp_path / "report.xml")
    assert done.stderr == ""
    assert done.stdout.endswith(
        f"1 fail as expected, 0 failed{f': {complaint}' * bool(complaint)}\n"
    )
    assert done.returncode == bool(complaint)


def test_a_python_without_a_line_takes_that_for_any(tmp_path):
    (tmp_path / "table").write_text("3.13 test 0 0 9\nany test-base 5 0 9\nany test 3 0 9\n")
    (tmp_path / "report.xml").write_text(REPORT)
    assert "(at least 3)" in check(tmp_path / "table", tmp_path / "report.xml", "", "test").stdout
    done = check(tmp_path / "table", tmp_path / "report.xml", "3.14", "asan")
    assert done.returncode == 1
    assert done.stderr.endswith("has no line for Python 3.14, asan\n")


@pytest.mark.parametrize("text", [None, "", REPORT[:-10]])
def test_a_report_that_is_not_there_or_cut_fails(text, tmp_path):
    (tmp_path / "table").write_text("any test-base 0 0 9\n")
    if text is not None:
        (tmp_path / "report.xml").write_text(text)
    done = check(tmp_path / "table", tmp_path / "report.xml")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "Python 3.14, test-base: NO REPORT, the tests did not run to their end\n"
    )


@pytest.mark.parametrize(
    "line", ["3.14 test-base 1 2", "3.14 test-base 1 2 3 4", "any test-base 0 0 1"]
)
def test_a_table_that_makes_no_sense_is_refused(line, tmp_path):
    (tmp_path / "table").write_text(f"any test-base 0 0 9\n{line}\n")
    (tmp_path / "report.xml").write_text(REPORT)
    done = check(tmp_path / "table", tmp_path / "report.xml")
    assert (done.returncode, done.stdout) == (1, "")
    assert line in done.stderr
