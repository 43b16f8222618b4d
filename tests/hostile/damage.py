"""Damages files, loads each, and counts what happens.

The loads run in forked children, many in one: files are in memory, each case writes a few bytes,
loads, and puts them back. A child notes the outcome of each case in shared memory, so that the
parent knows which case ended a child (a crash, or a timer that nothing else survives), and starts
another behind it. Memory is limited per child, and its growth watched.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

# ---------------------------------------------------------------- outcomes

REFUSED = 1  # CorruptFileError, or EOFError for an empty file
REFUSED_OTHERWISE = 2  # another exception
EQUAL = 3
SILENT = 4
NO_MEMORY = 5  # MemoryError, or more memory than the file's size and 64 MiB
CRASHED = 6
HUNG = 7
NAMES = {
    REFUSED: "refused",
    REFUSED_OTHERWISE: "refused otherwise",
    EQUAL: "equal",
    SILENT: "silent",
    NO_MEMORY: "over-allocated",
    CRASHED: "crashed",
    HUNG: "hung",
}

SECONDS_PER_CASE = 20
GROWTH_BYTES = 64 << 20
# Address space may grow by more than memory: stacks and arenas of threads.
SPACE_BYTES = 1 << 30
BATCH = 20_000


@dataclass(frozen=True)
class Case:
    """One damage: which file of a pair, what is done, where, and with what."""

    kind: str  # cut, bit, append, zero, swap, byte
    at: int
    what: int = 0
    file: int = 0

    def __str__(self):
        return f"{self.kind} at {self.at} ({self.what}) of file {self.file}"


# ---------------------------------------------------------------- cases


def cuts(data: bytes, file: int = 0) -> Iterator[Case]:
    for n in range(len(data) - 1, -1, -1):
        yield Case("cut", n, file=file)


def bits(data: bytes, file: int = 0) -> Iterator[Case]:
    for at in range(len(data)):
        for bit in range(8):
            yield Case("bit", at, bit, file)


def others(data: bytes, chance: random.Random, n: int, file: int = 0) -> Iterator[Case]:
    """Bytes appended; sectors of zeros; blocks swapped; any byte instead of the right one."""
    size = len(data)
    for _ in range(n):
        kind = chance.choice(("append", "zero", "swap", "byte", "byte"))
        at = chance.randrange(size)
        if kind == "append":
            yield Case(
                kind, chance.choice((1, 2, 7, 63, 64, 512, 4096)), chance.randrange(256), file
            )
        elif kind == "zero":
            n_bytes = chance.choice((8, 64, 512, 4096))
            if any(data[at : at + n_bytes]):
                yield Case(kind, at, n_bytes, file)
        elif kind == "swap":
            to = chance.randrange(size)
            if data[at : at + 16] != data[to : to + 16] and abs(at - to) >= 16:
                yield Case(kind, at, to, file)
        else:
            value = chance.randrange(256)
            if value != data[at]:
                yield Case(kind, at, value, file)


# ---------------------------------------------------------------- one load


class Files:
    """Files in memory that are damaged and put right again."""

    def __init__(self, contents: list[bytes]):
        self.contents = contents
        self.fds = [os.memfd_create(f"hostile{i}") for i in range(len(contents))]
        self.paths = [f"/proc/self/fd/{fd}" for fd in self.fds]
        for fd, data in zip(self.fds, contents, strict=True):
            os.pwrite(fd, data, 0)

    def apply(self, case: Case) -> None:
        fd, data = self.fds[case.file], self.contents[case.file]
        if case.kind == "cut":
            os.ftruncate(fd, case.at)
        elif case.kind == "bit":
            os.pwrite(fd, bytes((data[case.at] ^ 1 << case.what,)), case.at)
        elif case.kind == "byte":
            os.pwrite(fd, bytes((case.what,)), case.at)
        elif case.kind == "append":
            os.pwrite(fd, random.Random(case.what).randbytes(case.at), len(data))
        elif case.kind == "zero":
            os.pwrite(fd, bytes(min(case.what, len(data) - case.at)), case.at)
        elif case.kind == "swap":
            first, second = data[case.at : case.at + 16], data[case.what : case.what + 16]
            n_bytes = min(len(first), len(second))
            os.pwrite(fd, second[:n_bytes], case.at)
            os.pwrite(fd, first[:n_bytes], case.what)

    def undo(self, case: Case) -> None:
        fd, data = self.fds[case.file], self.contents[case.file]
        if case.kind == "cut":
            os.pwrite(fd, data[case.at :], case.at)
        elif case.kind == "append":
            os.ftruncate(fd, len(data))
        else:
            for at in (case.at, case.what) if case.kind == "swap" else (case.at,):
                n_bytes = max(16, case.what) if case.kind == "zero" else 16
                os.pwrite(fd, data[at : at + n_bytes], at)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class Reference:
    """What a whole file gives; `same(value)` compares quickly, and deeply where that fails."""

    def __init__(self, value):
        import fastpersist

        self._dumps = fastpersist.dumps
        self._value = value
        self._bytes = self._dumps(value)

    def same(self, value) -> bool:
        from compare import assert_isomorphic

        try:
            if self._dumps(value) == self._bytes:
                return True
            assert_isomorphic(self._value, value)
        except Exception:
            return False
        return True


def _outcome(way, paths, reference, is_empty) -> int:
    import fastpersist

    try:
        value = way.load(paths)
    except MemoryError:
        return NO_MEMORY
    except fastpersist.CorruptFileError as error:
        if way.ours and (error.offset is None or error.section is None):
            return REFUSED_OTHERWISE
        return REFUSED
    except EOFError:
        return REFUSED if is_empty or not way.ours else REFUSED_OTHERWISE
    except Exception:
        return REFUSED_OTHERWISE
    except BaseException:  # what a damaged file calls may be sys.exit
        return REFUSED_OTHERWISE
    return EQUAL if reference.same(value) else SILENT


# ---------------------------------------------------------------- children


def _memory_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * mmap.PAGESIZE


def _child(way, contents, cases, results, first) -> None:
    """Runs cases from `first` on; never returns."""
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        files = Files(contents)
        n_bytes = sum(map(len, contents))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = Reference(way.load(files.paths))
            limit = _address_space() + n_bytes + SPACE_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            # The default action ends the process: a loop in C cannot catch it.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            for i in range(first, len(cases)):
                case = cases[i]
                before = _memory_peak()
                files.apply(case)
                signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_CASE)
                is_empty = case.kind == "cut" and case.at == 0
                result = _outcome(way, files.paths, reference, is_empty)
                signal.setitimer(signal.ITIMER_REAL, 0)
                files.undo(case)
                if _memory_peak() - before > GROWTH_BYTES + n_bytes:
                    result = NO_MEMORY
                results[i] = result
        status = 0
    finally:
        os._exit(status)


@dataclass
class Counts:
    """How often a kind of damage had an outcome, and the first of those that must not be."""

    outcomes: Counter = field(default_factory=Counter)  # of (kind, outcome)
    failures: list[tuple[str, str, str, Case]] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        self.outcomes += other.outcomes
        self.failures += other.failures[: 50 - len(self.failures)]

    def number(self, *outcomes: int, kinds: Collection[str] = ()) -> int:
        """Of these outcomes (none: all) and these kinds of damage (none: all)."""
        return sum(
            n
            for (kind, outcome), n in self.outcomes.items()
            if (not outcomes or outcome in outcomes) and (not kinds or kind in kinds)
        )


def _run_batch(way, contents, cases) -> bytes:
    with mmap.mmap(-1, max(1, len(cases))) as results:
        first = 0
        while first < len(cases):
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                _child(way, contents, cases, results, first)
            status = os.waitpid(pid, 0)[1]
            done = results.find(b"\0", first)
            if done < 0 or done >= len(cases):
                break
            if os.WIFEXITED(status) and done == first and os.WEXITSTATUS(status) != 0:
                raise RuntimeError(f"{way.name}: a whole file does not load")
            is_timer = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
            results[done] = HUNG if is_timer else CRASHED
            first = done + 1
        return results[: len(cases)]


BAD = {SILENT, NO_MEMORY, CRASHED, HUNG, REFUSED_OTHERWISE}


def run(model: str, way, contents: list[bytes], cases: list[Case]) -> Counts:
    """All cases of one model in one way. Nobody else's threads may run: this forks."""
    counts = Counts()
    for start in range(0, len(cases), BATCH):
        batch = cases[start : start + BATCH]
        for case, result in zip(batch, _run_batch(way, contents, batch), strict=True):
            counts.outcomes[case.kind, result] += 1
            if result in BAD and way.ours and len(counts.failures) < 50:
                counts.failures.append((model, way.name, NAMES[result], case))
    return counts


def _drawn(way, data: bytes, file: int, most: int, chance: random.Random) -> Iterator[Case]:
    """Of a large file: drawn one by one, not from the list of all."""
    unchecked = way.unchecked(data) if way.unchecked is not None else set()
    for _ in range(most // 5):
        yield Case("cut", chance.randrange(len(data)), file=file)
    for _ in range(most):
        at = chance.randrange(len(data))
        if at not in unchecked:
            yield Case("bit", at, chance.randrange(8), file)
    if not unchecked:
        for case in others(data, chance, most // 5, file):
            if way.ends_cleanly or case.kind != "append":
                yield case


def cases_of(way, contents: list[bytes], most: int | None, seed: int = 0) -> list[Case]:
    """Every cut and every bit, and some of the others; at most so many, drawn evenly."""
    chance = random.Random(seed)
    found: list[Case] = []
    for file, data in enumerate(contents):
        if most is not None and len(data) > max(1 << 20, most):
            found += _drawn(way, data, file, most, chance)
            continue
        unchecked = way.unchecked(data) if way.unchecked is not None else set()
        found += cuts(data, file)
        found += (case for case in bits(data, file) if case.at not in unchecked)
        if not unchecked:
            extra = others(data, chance, max(200, len(data) // 4), file)
            found += (c for c in extra if way.ends_cleanly or c.kind != "append")
    if most is not None and len(found) > most:
        found = [found[i] for i in sorted(chance.sample(range(len(found)), most))]
    return found
