"""Two models, dumped and read back by fastpersist, plain pickle and joblib."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from fastpersist.compare import Call, compare, table


def models(data: Any, target: Any) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    forest = RandomForestClassifier(n_estimators=500, random_state=0)
    pipeline = make_pipeline(
        StandardScaler(), PolynomialFeatures(interaction_only=True), LogisticRegression(tol=0.1)
    )
    return {
        "RandomForestClassifier, 500 trees": forest.fit(data, target),
        "Pipeline(StandardScaler, PolynomialFeatures, LogisticRegression)": pipeline.fit(
            data, target
        ),
    }


def run() -> int:
    try:
        import joblib  # noqa: F401
        from sklearn.datasets import load_digits
    except ImportError:
        print("the demo needs scikit-learn and joblib: pip install 'fastpersist[demo]'")
        return 1
    import numpy as np

    print("training two models on scikit-learn's digits ...\n", flush=True)
    data, target = load_digits(return_X_y=True)
    n_copies = 0
    for title, model in models(data, target).items():
        with tempfile.TemporaryDirectory() as directory:
            rows, answers = compare(model, Path(directory), call=Call("predict", (data,)))
        expected = model.predict(data)
        for (writer, reader), predictions in answers.items():
            if not np.array_equal(predictions, expected):
                print(f"{title}: predictions differ, written by {writer}, read by {reader}")
                return 1
            n_copies += 1
        print(table(title, rows), end="\n\n", flush=True)
    print(
        f"All {n_copies} copies predict what the models predict.\n"
        "pickle and joblib read fastpersist's files in processes that never import it.\n"
        "Times are the best of 5, files in the page cache."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run())
