"""The command line: ``python -m fastpersist``, and the script ``fastpersist``.

Exit status: 0 good; 1 damage, or a finding: files that differ, another answer of a reader; 2 it
could not be done. What goes wrong is one line on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastpersist
from fastpersist._environment import shown
from fastpersist.files import urls
from fastpersist.report.file_report import FileReport

_GOOD, _FOUND, _COULD_NOT = 0, 1, 2
_COULD_NOT_BE_DONE = (OSError, ValueError, EOFError, pickle.UnpicklingError, ImportError)

_EXAMPLES = """examples:
  fastpersist inspect model                    what is in it, and how large
  fastpersist inspect model --depth 2          a flatter tree
  fastpersist inspect model --html report.html the same as a page
  fastpersist inspect old --diff new           what grew from one to the other
  fastpersist verify *.pkl                     check every byte, print digests
  fastpersist convert model.pkl new            another layout; nothing is run
  fastpersist bench model.pkl                  time it beside pickle and joblib

exit status: 0 good, 1 damage or a finding, 2 it could not be done
"""
_INSPECT_EXAMPLES = """examples:
  fastpersist inspect model
  fastpersist inspect model --globals           only the names that it asks for
  fastpersist inspect model --untrusted         what a load with trusted=() refuses
  fastpersist inspect model --json | jq .arrays
  fastpersist inspect model --sort path --depth 3
  fastpersist inspect old --diff new            exit status 1 where they differ
"""
_VERIFY_EXAMPLES = """examples:
  fastpersist verify model
  fastpersist verify weights/*                  one line for each; exit status 1 for damage in any
  fastpersist verify main --sidecar second
"""


_CONVERT_EXAMPLES = """examples:
  fastpersist convert model.joblib model        in the layout of fastpersist.dump
  fastpersist convert model model.zst           compressed, as the name says
  fastpersist convert model model --compress zstd:9
  fastpersist convert model model.pkl --layout pickle
  fastpersist convert model main --sidecar second
  fastpersist convert old model --load          through a load: only what you trust
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return _GOOD
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # head, or a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _GOOD
    except KeyboardInterrupt:
        return _complain("interrupted")
    except MemoryError:
        return _complain("out of memory")
    return status


# ---------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    is_module = Path(sys.argv[0]).name == "__main__.py"
    parser = _Parser(
        prog="python -m fastpersist" if is_module else "fastpersist",
        description="Look into files of fastpersist, pickle and joblib, check and compare them.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=version("fastpersist"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, examples: str = ""
    ) -> argparse.ArgumentParser:
        found: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=text, epilog=examples
        )
        found.set_defaults(run=run)
        return found

    one = command("inspect", _inspect, "what is in a file; nothing of it is run", _INSPECT_EXAMPLES)
    one.add_argument("file", metavar="FILE")
    one.add_argument("--depth", type=_count, metavar="N", help="levels of the tree")
    one.add_argument("--top", type=_count, metavar="N", default=25, help="rows (%(default)s)")
    one.add_argument("--sort", choices=("size", "path"), default="size", help="order of the tree")
    forms = one.add_mutually_exclusive_group()
    forms.add_argument("--globals", action="store_true", help="only the names that it asks for")
    forms.add_argument(
        "--untrusted", action="store_true", help="only the names that trusted=() refuses"
    )
    forms.add_argument("--json", action="store_true", help="for programs")
    one.add_argument("--html", metavar="OUT", help="also write a page")
    one.add_argument("--diff", metavar="FILE", help="what is different in this later file")

    one = command("verify", _verify, "check files without loading them", _VERIFY_EXAMPLES)
    one.add_argument("files", metavar="FILE", nargs="+")
    one.add_argument("--sidecar", metavar="FILE", help="the second file of one dump in two")

    one = command("convert", _convert, "write a file anew; nothing of it is run", _CONVERT_EXAMPLES)
    one.add_argument("file", metavar="IN")
    one.add_argument("out", metavar="OUT")
    one.add_argument(
        "--compress",
        metavar="CODEC[:LEVEL]",
        type=_codec,
        default=0,
        help="zlib, gzip, bz2, lzma, xz, lz4, zstd, or a level of OUT's codec; also by OUT's name",
    )
    one.add_argument(
        "--layout",
        choices=("fastpersist", "joblib", "pickle"),
        default="fastpersist",
        help='"pickle" is one of protocol 5 and nothing else (%(default)s)',
    )
    one.add_argument("--sidecar", metavar="OUT2", help="a second file for the arrays' bytes")
    one.add_argument("--from-sidecar", metavar="IN2", help="the second file of IN")
    one.add_argument(
        "--load", action="store_true", help="load it and dump that; this runs what it names"
    )

    one = command("bench", _bench, "time a model of your own beside pickle and joblib")
    one.add_argument(
        "file", type=Path, help="a pickle or joblib file; loading it runs code: only one you trust"
    )
    one.add_argument(
        "--repeat", type=_count, metavar="N", default=5, help="best of so many (%(default)s)"
    )
    command("demo", _demo, "two models, dumped and read back by fastpersist, pickle and joblib")
    return parser


class _Parser(argparse.ArgumentParser):
    """Help whose examples keep their lines; commands have it, too."""

    def __init__(self, **keywords: Any) -> None:
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        if "color" in argparse.ArgumentParser.__init__.__code__.co_varnames:
            keywords.setdefault("color", not os.environ.get("NO_COLOR"))
        super().__init__(**keywords)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _codec(text: str) -> int | str | tuple[str, int]:
    codec, _, level = text.partition(":")
    if level:
        return codec, int(level)
    return int(codec) if codec.isdecimal() else codec


def _complain(text: str) -> int:
    print(f"fastpersist: {text}", file=sys.stderr)
    return _COULD_NOT


def _reason(error: BaseException, name: str) -> str:
    """One line for an exception."""
    if isinstance(error, OSError) and error.strerror:
        return f"{_name(name)}: {error.strerror}"
    if isinstance(error, EOFError):
        return f"{_name(name)}: it is empty"
    return f"{_name(name)}: {shown(str(error) or type(error).__name__, 400)}"


def _name(path: str) -> str:
    return shown(path, 200)


def _width() -> int:
    return shutil.get_terminal_size().columns


def _print(text: str) -> None:
    """What the terminal's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


# ---------------------------------------------------------------- inspect


def _inspect(options: argparse.Namespace) -> int:
    name = options.file
    try:
        report = fastpersist.inspect(name, progress=True)
        is_damaged = bool(report.faults)
        if options.html is not None:
            name = options.html
            report.save_html(name)
        if options.diff is not None:
            name = options.diff
            later = fastpersist.inspect(name, progress=True)
            difference = report.diff(later)
            _print(_json(difference.to_dict()) if options.json else _fitted(str(difference)))
            is_same = not (difference.sizes or difference.arrays or difference.globals_gone)
            is_same = is_same and not (difference.globals_new or difference.environment)
            return _GOOD if is_same and not is_damaged and not later.faults else _FOUND
        if options.json:
            _print(_json(report.to_dict()))
        elif options.untrusted:
            return _untrusted(report) or (_FOUND if is_damaged else _GOOD)
        elif options.globals:
            for one in report.globals:
                n = one.n_called + one.n_class + one.n_built + one.n_argument + one.n_fetched
                path = shown(one.path or "", 500)
                _print(_fitted(f"{shown(one.label, 500)}  {one.use} ({n:,})  {path}".rstrip()))
        else:
            _print(
                report.to_text(_width(), n_rows=options.top, depth=options.depth, sort=options.sort)
            )
    except BrokenPipeError:
        raise
    except _COULD_NOT_BE_DONE as error:
        return _complain(_reason(error, name))
    return _FOUND if is_damaged else _GOOD


def _untrusted(report: FileReport) -> int:
    """Names on stdout, so that they can be passed on; what else is refused on stderr."""
    names, reasons = report.untrusted, report.untrusted_reasons
    for name in dict.fromkeys(each.name for each in names):
        _print(shown(name, 500))
    for reason in reasons:
        print(reason, file=sys.stderr)
    return _FOUND if names or reasons else _GOOD


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _fitted(text: str) -> str:
    width = max(40, _width())
    return "\n".join(
        line if len(line) <= width else line[: width - 1] + "…" for line in text.splitlines()
    )


# ---------------------------------------------------------------- verify


def _verify(options: argparse.Namespace) -> int:
    status = _GOOD
    if options.sidecar is not None and len(options.files) > 1:
        return _complain("--sidecar belongs to one FILE")
    for name in options.files:
        try:
            with urls.here(urls.local_path(name)) as path:  # of a URL one copy for both
                fastpersist.verify(path, sidecar=options.sidecar, progress=True)
                digest = _digest(path)
            _print(f"{_name(name)}: {digest}")
        except fastpersist.CorruptFileError as error:
            _print(f"{_name(name)}: DAMAGED: {shown(str(error), 400)}")
            status = max(status, _FOUND)
        except BrokenPipeError:
            raise
        except _COULD_NOT_BE_DONE as error:
            status = _complain(_reason(error, name))
    return status


_TAIL_BYTES = 42  # state, hash, length of the payload, magic, POP, STOP
_END_MAGIC = b"fastpersist end\x000."


def _digest(name: str) -> str:
    """The hash in the footer, which covers all others; of several dumps each one's, in order."""
    hashes: list[str] = []
    with open(name, "rb") as file:
        info = os.fstat(file.fileno())
        end = info.st_size if stat.S_ISREG(info.st_mode) else 0
        if end and file.read(18) != b"\x80\x05C\x10fastpersist\0\1\0":
            end = 0
        while end >= _TAIL_BYTES:
            file.seek(end - _TAIL_BYTES)
            tail = file.read(_TAIL_BYTES)
            if not tail.endswith(_END_MAGIC):
                break
            n_payload = int.from_bytes(tail[16:24], "little")
            file.seek(end - 2 - n_payload + 24)
            hashes.append(f"xxh3-64:{int.from_bytes(tail[8:16], 'little'):016x}")
            end -= int.from_bytes(file.read(8), "little") or end
    if hashes:
        return " ".join(reversed(hashes))
    return "good as far as it can be told (compressed, a sidecar, or not written by fastpersist)"


# ---------------------------------------------------------------- convert


def _convert(options: argparse.Namespace) -> int:
    from fastpersist.convert import Unsettled, convert

    name = options.file
    how = {"compress": options.compress, "layout": options.layout, "sidecar": options.sidecar}
    try:
        convert(
            name,
            options.out,
            source_sidecar=options.from_sidecar,
            load=options.load,
            progress=True,
            **how,
        )
        sizes = [_size(path) for path in (options.out, options.sidecar) if path is not None]
        before = [_size(path) for path in (name, options.from_sidecar) if path is not None]
        _print(f"{_name(options.out)}: {' + '.join(sizes)}, was {' + '.join(before)}")
    except Unsettled as error:
        return _complain(
            f"{_name(name)}: cannot be written anew without loading it: {shown(str(error), 400)}; "
            "--load does, and runs what it names"
        )
    except fastpersist.CorruptFileError as error:
        _print(f"{_name(name)}: DAMAGED: {shown(str(error), 400)}")
        return _FOUND
    except BrokenPipeError:
        raise
    except _COULD_NOT_BE_DONE as error:
        return _complain(_reason(error, getattr(error, "filename", None) or name))
    except Exception as error:
        if not options.load:
            raise
        return _complain(_reason(error, name))  # of the file's own code
    return _GOOD


def _size(path: str) -> str:
    return f"{os.stat(path).st_size:,} bytes"


# ---------------------------------------------------------------- bench, demo


def _bench(options: argparse.Namespace) -> int:
    from fastpersist.compare import WRITERS, compare, table

    writers = tuple(name for name in WRITERS if name != "joblib" or find_spec("joblib"))
    try:
        if "joblib" in writers:
            value = importlib.import_module("joblib").load(options.file)  # reads pickles too
        else:
            value = fastpersist.load(options.file)
        with tempfile.TemporaryDirectory(dir=options.file.parent) as directory:
            rows, _ = compare(value, Path(directory), options.repeat, writers=writers)
    except Exception as error:  # of the file's own code, too
        return _complain(_reason(error, str(options.file)))
    _print(table(_name(str(options.file)), rows))
    return _GOOD


def _demo(options: argparse.Namespace) -> int:
    del options
    from fastpersist import demo

    return demo.run()
