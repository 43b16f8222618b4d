"""Files of benign models with one thing changed load under the built-in policy as something, or
fail cleanly; what loads can be shown and used. `mutate.py` runs as many cases as one wants."""

import json

import pytest
from helpers import EFFORT, run_python

N_CASES = 40

SCRIPT = """
import json, sys
import mutate
n_cases, seed, is_alone, *names = sys.argv[1:]
mutate.UNAUDITED = is_alone == "machine"
report = mutate.run(mutate.subjects(names), int(n_cases), int(seed))
print(json.dumps([str(report), report.failures, report.n_cases, dict(report.outcomes)]))
"""
LIBRARIES = ["forest", "boosting", "hist boosting", "logistic pipeline", "KNN", "MLP", "SVC"]
LIBRARIES += ["DataFrame", "sparse", "Gaussian process", "isolation forest"]


def check(names, n_cases, wall, seed=0):
    lines = run_python(SCRIPT, n_cases * EFFORT, seed, wall, *names, warnings="ignore")
    text, failures, n_done, outcomes = json.loads(lines)
    assert failures == [], text
    assert n_done == n_cases * EFFORT
    assert len(outcomes) >= 3, text  # refused, failed, loaded: what was changed is of all kinds


@pytest.mark.parametrize("wall", ["both", "machine"])
def test_arrays_and_values(wall):
    check(["arrays"], 6 * N_CASES, wall)


@pytest.mark.models
@pytest.mark.parametrize("wall", ["both", "machine"])
def test_models(wall):
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    check(LIBRARIES, len(LIBRARIES) * N_CASES // 2, wall, 1)
