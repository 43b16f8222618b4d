"""examples/serve: one model, several workers, each of which maps it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import fastpersist
import numpy as np
import pytest
from helpers import PROJECT

# A model that is imported faster than scikit-learn's.
SCALE = """
class Scale:
    def __init__(self, factors):
        self.factors = factors
    def predict(self, rows):
        return rows @ self.factors
"""
SERVE = PROJECT / "examples" / "serve" / "serve.py"
DATA = np.arange(12.0).reshape(4, 3)


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """The class of the models, which the service finds as well."""
    (tmp_path / "scale.py").write_text(SCALE)
    monkeypatch.syspath_prepend(tmp_path)
    there = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), there])))
    import scale

    yield scale.Scale
    del sys.modules["scale"]


@pytest.fixture
def service(scale, tmp_path):
    """A running service that answers with the first column: its process and address."""
    fastpersist.dump(scale(np.array([1.0, 0.0, 0.0])), tmp_path / "model")
    command = [sys.executable, str(SERVE), str(tmp_path / "model"), "--port", "0", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(timeout=60)


def get(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def post(address, body):
    with urllib.request.urlopen(address, data=body, timeout=60) as answer:
        return json.load(answer)


def test_it_answers_and_replaces_a_worker_that_died(service):
    process, address = service
    rows = json.dumps(DATA.tolist()).encode()
    assert post(f"{address}/predict", rows) == DATA[:, 0].tolist()
    for body in (b"[[1.0]]", b"no JSON"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{address}/predict", body)
        assert refused.value.code == 400
        refused.value.close()
    worker = get(f"{address}/health")["worker"]
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    for _ in range(10):
        assert get(f"{address}/health")["worker"] != worker
    process.terminate()
    assert process.wait(timeout=60) == 0


def test_a_new_model_takes_over_and_a_damaged_one_does_not(service, scale, tmp_path):
    process, address = service
    rows = json.dumps(DATA.tolist()).encode()
    assert post(f"{address}/predict", rows) == DATA[:, 0].tolist()
    fastpersist.dump(scale(np.array([0.0, 1.0, 0.0])), tmp_path / "model")
    process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 60
    while post(f"{address}/predict", rows) != DATA[:, 1].tolist():
        assert time.monotonic() < until
    (tmp_path / "broken").write_bytes((tmp_path / "model").read_bytes()[:100])
    os.replace(tmp_path / "broken", tmp_path / "model")
    process.send_signal(signal.SIGHUP)
    for _ in range(10):
        assert len(post(f"{address}/predict", rows)) == 4
    assert process.poll() is None


def test_a_model_that_does_not_load_ends_the_service(tmp_path):
    (tmp_path / "model").write_bytes(b"\x80\x05no model")
    command = [sys.executable, str(SERVE), str(tmp_path / "model"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert f"serve: {tmp_path / 'model'}: " in done.stderr
