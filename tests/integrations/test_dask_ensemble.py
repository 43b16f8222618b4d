"""examples/dask_ensemble.py, with moto's S3 in another process than the workers."""

import json
import os
import subprocess
import sys

import fsspec
import pytest
from helpers import PROJECT
from s3_server import client, s3_server


@pytest.mark.parametrize("store", [None, "s3://models/ensemble"])
def test_an_ensemble_is_trained_and_loaded(store, tmp_path):
    command = [sys.executable, str(PROJECT / "examples" / "dask_ensemble.py"), "--members", "6"]
    if store is not None:
        command += ["--store", store]
    with s3_server() as proxy:
        environment = {**os.environ, "FSSPEC_S3": json.dumps(fsspec.config.conf["s3"])}
        run = subprocess.run(
            command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
        )
        entries = client(proxy).list_objects_v2(Bucket="models").get("Contents", [])
    assert "6 trees in" in run.stdout
    one, ensemble = [
        float(word) for word in run.stdout.split() if word.count(".") == 1 and word[0].isdigit()
    ]
    assert ensemble < one / 2
    names = [f"ensemble/{seed:03}.pkl" for seed in range(6)]
    assert [entry["Key"] for entry in entries] == (names if store else [])
