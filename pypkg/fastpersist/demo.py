"""Two models, dumped and read back by fastpersist, plain pickle and joblib."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import fastpersist
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


def show_file(model: Any, directory: Path | None) -> None:
    """Where a forest's bytes are, as text; with a directory also as a page, which stays there."""
    with tempfile.TemporaryDirectory() as elsewhere:
        path = Path(directory or elsewhere, "forest.pkl")
        path.parent.mkdir(parents=True, exist_ok=True)
        fastpersist.dump(model, path)
        report = fastpersist.inspect(path)
        print("\nWhat is in the forest's file (fastpersist.inspect, which runs nothing of it):\n")
        print(report.to_text(n_rows=12, n_listed=3))
        if directory is None:
            print("\nfastpersist demo --keep DIR leaves the file and a page with a tree map there.")
            return
        page = directory / "forest.html"
        report.save_html(page)
        print(f"\nThe same as a page with a tree map: {page}\nThe file: {path}")


def run(kept: Path | None = None) -> int:
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
    trained = models(data, target)
    for title, model in trained.items():
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
    show_file(next(iter(trained.values())), kept)
    return 0


if __name__ == "__main__":
    sys.exit(run())
