"""The attacks of support/attacks.py and benign models, seen by others: scanners of pickles, skops.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install picklescan modelscan fickling skops \
        typing_extensions scikit-learn pandas
    python tests/hostile/peers.py --peers /tmp/peers/bin/python

Writes a section of RESULTS.md. Each tool looks at the same files, in a process of its own, one file
after the other. Counted are only attacks that plain pickle, or joblib, was seen to run
(tests/policy/attempts.py); a tool has caught one where it says that the file is not safe, whether
it names the attack or cannot read the file.
"""

from __future__ import annotations

import argparse
import io
import json
import pathlib
import pickle
import subprocess
import sys
import tempfile
import time
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "policy")]

import attacks  # noqa: E402
import attempts  # noqa: E402
import results  # noqa: E402

# What a list of harmful names has: without one of these an attack calls a function of the tests'
# own, which no scanner can know of, or nothing at all.
KNOWN = [b"exec", b"eval", b"__import__", b"getoutput", b"import_module", b"loads", b"getpid"]
KNOWN += [b"environ", b"modules", b"system", b"_Unpickler"]

# Each defines look(path) -> (is refused, a word). Read by a Python that need not have fastpersist.
TOOLS = {
    "picklescan": """
from picklescan.scanner import scan_file_path
import picklescan, logging
logging.disable(logging.CRITICAL)
def look(path):
    found = scan_file_path(path)
    if found.issues_count:
        return True, "infected"
    return (True, "error") if found.scan_err else (False, "clean")
""",
    "modelscan": """
from modelscan.modelscan import ModelScan
import logging
logging.disable(logging.CRITICAL)
scan = ModelScan()
def look(path):
    found = scan.scan(path)
    if found["summary"]["total_issues"]:
        return True, "infected"
    if found["errors"]:
        return True, "error"
    return False, "clean" if found["summary"]["scanned"]["total_scanned"] else "skipped"
""",
    "fickling": """
from fickling.analysis import check_safety, Severity
from fickling.fickle import StackedPickle
def look(path):
    with open(path, "rb") as file:
        try:
            parts = StackedPickle.load(file)
            found = max(check_safety(part).severity for part in parts)
        except Exception as error:
            return True, "error"
    return found > Severity.LIKELY_SAFE, "clean" if found <= Severity.LIKELY_SAFE else "infected"
""",
    "torch weights_only": """
import torch
def look(path):
    try:
        torch.load(path, weights_only=True)
    except Exception as error:
        return True, "refused"
    return False, "loaded"
""",
    "skops": """
import pickle, skops.io
def look(path):
    with open(path, "rb") as file:
        value = pickle.load(file)
    data = skops.io.dumps(value)
    unknown = skops.io.get_untrusted_types(data=data)
    if not unknown:
        skops.io.loads(data)
    return bool(unknown), "needs a list" if unknown else "loaded"
""",
}
RUN = """
import json, sys, time, warnings, importlib.metadata
warnings.simplefilter("ignore")
{look}
out = []
paths = json.load(open(sys.argv[1]))
begun = time.perf_counter()
for path in paths:
    at = time.perf_counter()
    try:
        refused, word = look(path)
    except Exception as error:
        refused, word = True, "error"
    out.append([refused, word, time.perf_counter() - at])
json.dump([importlib.metadata.version({package!r}), out], open(sys.argv[2], "w"))
"""


def hostile_files(directory: pathlib.Path) -> dict[str, list[str]]:
    """Those that plain pickle was seen to run, by kind of file."""
    import helpers

    printed = helpers.run_python("import attempts; attempts.plain()", warnings="ignore")
    shown = json.loads(printed)
    kinds: dict[str, list[str]] = {}

    def write(kind: str, name: str, data: bytes, extension: str = ".pkl") -> None:
        paths = kinds.setdefault(kind, [])
        path = directory / f"{len(kinds)}-{len(paths)}{extension}"
        path.write_bytes(data)
        paths.append(str(path))

    for attack, files in attempts.all_layouts():
        done = shown.get(attack.name, {})
        last = b""
        for label, data, _ in files:
            if done.get(label) is not True:
                continue
            if label == "ours":
                kind = "our layout"
            elif "joblib" in label or "joblib" in attack.name:
                kind = "joblib's layout"
            else:
                kind = "plain pickles"
            if not any(text in data for text in KNOWN):
                kind += ", names of the tests' own"
            elif kind == "plain pickles":
                last = data
            write(kind, attack.name, data)
        for codec, (extension, compress) in attacks.codecs().items():
            if last and len(kinds.get(f"in {codec}", [])) < 40:
                write(f"in {codec}", attack.name, compress(last), f".pkl{extension}")
    import csv

    table = HERE.parent / "support" / "gadgets.tsv"
    with open(table, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            form = attacks.gadget_forms(row["module"], row["name"])
            write("calls of gadgets.tsv", row["name"], form["REDUCE, protocol 4, a text"])
    return kinds


def benign_files(directory: pathlib.Path) -> dict[str, list[str]]:
    import fastpersist
    import mutate

    warnings.simplefilter("ignore")
    paths: dict[str, list[str]] = {"pickle": [], "ours": [], "joblib": []}
    for i, make in enumerate(mutate.MODELS.values()):
        value = make()
        file = io.BytesIO()
        fastpersist.dump(value, file)
        joblib_file = io.BytesIO()
        fastpersist.dump(value, joblib_file, layout="joblib")
        data = {"pickle": pickle.dumps(value, 5), "ours": file.getvalue()}
        data["joblib"] = joblib_file.getvalue()
        for kind, content in data.items():
            path = directory / f"benign-{kind}-{i}.pkl"
            path.write_bytes(content)
            paths[kind].append(str(path))
    return paths


def ours(paths: list[str]) -> list[list[object]]:
    """In a child: a benign file that is refused, or a hostile one that loads, is seen."""
    import fastpersist

    out: list[list[object]] = []
    for path in paths:
        at = time.perf_counter()
        try:
            fastpersist.load(path, trusted=(), environment="ignore")
            refused, word = False, "loaded"
        except Exception as error:
            refused, word = True, type(error).__name__
        out.append([refused, word, time.perf_counter() - at])
    return out


def asked(tool: str, python: str, paths: list[str], directory: pathlib.Path) -> tuple[str, list]:
    """The tool's version, and what it says of each file; no version where it is not installed."""
    package = tool.split()[0]
    code = RUN.format(look=TOOLS[tool], package=package)
    wanted, answer = directory / "wanted.json", directory / "answer.json"
    wanted.write_text(json.dumps(paths))
    answer.unlink(missing_ok=True)
    done = subprocess.run([python, "-c", code, str(wanted), str(answer)], capture_output=True)
    if done.returncode != 0:
        if b"ModuleNotFoundError" in done.stderr or b"PackageNotFound" in done.stderr:
            return "", []
        raise RuntimeError(f"{tool}: {done.stderr.decode()[-2000:]}")
    version, found = json.loads(answer.read_text())
    return version, found


def milliseconds(found: list) -> float:
    return sorted(seconds for _, _, seconds in found)[len(found) // 2] * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--print", action="store_true", help="and leave RESULTS.md alone")
    options = parser.parse_args()
    import fastpersist

    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        hostile = hostile_files(directory)
        benign = benign_files(directory)
        columns: dict[str, dict[str, list]] = {}
        missing = []
        heads = {}
        for tool in ("fastpersist", *TOOLS):
            kinds = {f"benign, {kind}": paths for kind, paths in benign.items()}
            if tool == "skops":  # reads its own files alone
                kinds = {"benign, pickle": benign["pickle"]}
            else:
                kinds |= hostile
            paths = [path for each in kinds.values() for path in each]
            if tool == "fastpersist":
                version, found = fastpersist.__version__, attempts_of_ours(paths, directory)
            else:
                version, found = asked(tool, options.peers, paths, directory)
            if not version:
                missing.append(tool)
                continue
            heads[tool] = f"{tool} {version}"
            columns[tool] = {}
            for kind, each in kinds.items():
                columns[tool][kind], found = found[: len(each)], found[len(each) :]
            print(tool, version, flush=True)
    text = written(hostile, benign, columns, heads, missing)
    print(text)
    if not options.print:
        results.write("Attacks, and what others see of them", text)
    return 0


def attempts_of_ours(paths: list[str], directory: pathlib.Path) -> list:
    import helpers

    wanted = directory / "wanted.json"
    wanted.write_text(json.dumps(paths))
    code = """
import json, sys, warnings
import peers
warnings.simplefilter("ignore")
paths = json.load(open(sys.argv[1]))
peers.ours(paths[:50])
print(json.dumps(peers.ours(paths)))
"""
    return json.loads(helpers.run_python(code, wanted, warnings="ignore"))


def written(hostile, benign, columns, heads, missing) -> str:
    n_hostile = sum(map(len, hostile.values()))
    lines = [
        f"{n_hostile:,} hostile files ({len(attacks.ATTACKS)} attacks in the protocols, layouts "
        "and codecs in which plain pickle or joblib was seen to run them, and a call of each "
        f"function in gadgets.tsv) and {len(benign['pickle'])} benign models, each as a pickle, a "
        "file of ours and one in joblib's layout. Not caught, of how many:",
        "",
        "| | files | " + " | ".join(heads.values()) + " |",
        "|---|---:|" + "---:|" * len(heads),
    ]
    for kind, paths in hostile.items():
        cells = []
        for tool in heads:
            found = columns[tool].get(kind)
            n_missed = None if found is None else sum(not refused for refused, _, _ in found)
            cells.append("" if n_missed is None else str(n_missed))
        lines.append(f"| {kind} | {len(paths)} | " + " | ".join(cells) + " |")
    for kind in benign:
        cells = []
        for tool in heads:
            found = columns[tool].get(f"benign, {kind}")
            cells.append("" if found is None else str(sum(refused for refused, _, _ in found)))
        title = f"**benign models refused**, {kind}"
        lines.append(f"| {title} | {len(benign[kind])} | " + " | ".join(cells) + " |")
    cells = []
    for tool in heads:
        cells.append(f"{milliseconds(columns[tool]['benign, pickle']):.1f} ms")
    lines.append("| time of a benign pickle, median | | " + " | ".join(cells) + " |")
    lines += [
        "",
        "A scanner only looks; fastpersist and torch load as well, and skops' time is that of a "
        "dump, a look and a load of its own format. skops reads no pickles, so that no hostile "
        "file here concerns it; its benign models are those for which it wants a list of names. A "
        "file that a tool cannot read counts as caught, one that it skips does not. Names of the "
        "tests' own: nothing that a list of harmful names could have; what is approved by name "
        "is all that can refuse these.",
    ]
    if missing:
        lines.append("Not installed, and so not run: " + ", ".join(missing) + ".")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
