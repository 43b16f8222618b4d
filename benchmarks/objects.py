"""The objects that the benchmarks measure, by name; `QUICK` has smaller sizes.

Each is built in a process of its own, from fixed seeds.
"""

import importlib.util
import warnings

import numpy as np


class Instance:
    def __init__(self, number):
        self.id = number
        self.name = f"user{number}"
        self.value = number * 0.5
        self.children = [number, number + 1]


def classification(n=20_000, features=30, classes=5, seed=0):
    from sklearn.datasets import make_classification

    return make_classification(n, features, n_informative=15, n_classes=classes, random_state=seed)


def dicts(n=200_000):
    return [
        {
            "id": i,
            "name": f"user{i}",
            "score": i * 0.5,
            "tags": ["a", "b", str(i % 100)],
            "n": {"x": i, "y": None, "z": True},
        }
        for i in range(n)
    ]


def objs(n=200_000):
    return [Instance(i) for i in range(n)]


def strs(n=1_000_000):
    return [f"string number {i}" for i in range(n)]


def ints(n=3_000_000):
    return list(range(n))


def smallarrs(n=200_000):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(16) for _ in range(n)]


def forest_shallow(trees=2000):
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, max_depth=5, n_jobs=-1, random_state=0)
    return forest.fit(*classification(2000))


def forest_deep(trees=200):
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, n_jobs=-1, random_state=0)
    return forest.fit(*classification())


def boosting(iterations=200):
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=iterations, early_stopping=False, random_state=0
    )
    return model.fit(*classification())


def tfidf(documents=20_000):
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(0)
    return TfidfVectorizer().fit(
        " ".join(f"w{word}" for word in rng.zipf(1.2, 60) % 400_000) for _ in range(documents)
    )


def frame(n=1_000_000):
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.standard_normal(n),
            "b": rng.integers(0, 100, n),
            "c": rng.integers(0, 5, n).astype("i1"),
            "s": [f"s{i % 1000}" for i in range(n)],
            "t": pd.date_range("2000", periods=n, freq="s"),
        }
    )


def mlp(width=4096):
    from sklearn.neural_network import MLPClassifier

    data, target = classification(500, 784, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration does not converge
        return MLPClassifier((width, width), max_iter=1).fit(data, target)


def weights(layers=64):
    rng = np.random.default_rng(0)
    return {f"layer{i}.w": rng.standard_normal((1024, 1024)).astype("f4") for i in range(layers)}


def array_1gib(rows=16_384):
    return np.random.default_rng(0).standard_normal((rows, 8_192))


def tiny():
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(*classification(2000))


def torch_ensemble(members=8):
    import torch

    torch.manual_seed(0)
    return [
        torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(5)))
        for _ in range(members)
    ]


OBJECTS = {
    build.__name__: build
    for build in (
        dicts,
        objs,
        strs,
        ints,
        smallarrs,
        forest_shallow,
        forest_deep,
        boosting,
        tfidf,
        frame,
        mlp,
        weights,
        array_1gib,
        tiny,
    )
}
if importlib.util.find_spec("torch"):
    OBJECTS["torch_ensemble"] = torch_ensemble

QUICK = {
    "dicts": {"n": 20_000},
    "objs": {"n": 20_000},
    "strs": {"n": 100_000},
    "ints": {"n": 300_000},
    "smallarrs": {"n": 20_000},
    "forest_shallow": {"trees": 200},
    "forest_deep": {"trees": 20},
    "boosting": {"iterations": 5},
    "tfidf": {"documents": 2_000},
    "frame": {"n": 100_000},
    "mlp": {"width": 512},
    "weights": {"layers": 8},
    "array_1gib": {"rows": 2_048},
    "torch_ensemble": {"members": 1},
}
