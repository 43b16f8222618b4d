"""The command line: python -m fastpersist."""

import argparse
import pickle
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from fastpersist import demo
from fastpersist.compare import WRITERS, compare, table


def bench(path: Path, repeat: int) -> int:
    writers = tuple(name for name in WRITERS if name != "joblib" or find_spec("joblib"))
    if "joblib" in writers:
        import joblib

        value = joblib.load(path)  # reads pickles too
    else:
        with open(path, "rb") as file:
            value = pickle.load(file)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        rows, _ = compare(value, Path(directory), repeat, writers=writers)
    print(table(str(path), rows))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fastpersist", description=__doc__)
    parser.add_argument("--version", action="version", version=version("fastpersist"))
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("demo", help=demo.__doc__)
    bench_parser = commands.add_parser(
        "bench", help="time a model of your own beside pickle and joblib"
    )
    bench_parser.add_argument(
        "file",
        type=Path,
        help="a pickle or joblib file; loading it runs code, so only a file you trust",
    )
    bench_parser.add_argument("--repeat", type=int, default=5, help="best of so many (%(default)s)")
    options = parser.parse_args(arguments)
    if options.command == "demo":
        return demo.run()
    if options.command == "bench":
        return bench(options.file, options.repeat)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
