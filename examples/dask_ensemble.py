"""An ensemble of trees, trained by Dask workers and loaded in one process.

Each member is dumped where it was trained, straight into the store; only its URL comes back. The
store is a directory unless said otherwise:

    python examples/dask_ensemble.py
    python examples/dask_ensemble.py --members 100 --store s3://bucket/ensembles/first

Needs fastpersist[dask,remote], scikit-learn, and for s3:// the package s3fs. Keys and endpoints
are fsspec's to know: by AWS's own files and variables, or FSSPEC_S3='{"endpoint_url": "..."}'.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor

import fastpersist
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import make_friedman1
from sklearn.tree import DecisionTreeRegressor


def data():
    return make_friedman1(n_samples=2000, random_state=0)


def train(seed, url):
    """In a worker: one tree, of rows drawn with replacement."""
    features, target = data()
    rows = np.random.default_rng(seed).integers(len(target), size=len(target))
    tree = DecisionTreeRegressor(max_features=0.5, random_state=seed)
    tree.fit(features[rows], target[rows])
    fastpersist.dump(tree, url)
    return url


def load(urls):
    """In one process. The workers' files may call what fastpersist.policy approves, no more."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda url: fastpersist.load(url, trusted=()), urls))


def main(store, n_members):
    names = [f"{store}/{seed:03}.pkl" for seed in range(n_members)]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        urls = client.gather(client.map(train, range(n_members), names))
    members = load(urls)
    features, target = data()
    error = np.mean([np.square(tree.predict(features) - target) for tree in members])
    mean = np.mean([tree.predict(features) for tree in members], axis=0)
    print(f"{len(members)} trees in {store}")
    print(f"mean square error: {error:.2f} of one tree, {np.mean((mean - target) ** 2):.2f} of all")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", help="a directory, or any URL that fsspec knows")
    parser.add_argument("--members", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.store is not None:
        main(arguments.store.rstrip("/"), arguments.members)
    else:
        with tempfile.TemporaryDirectory() as directory:
            main(directory, arguments.members)
