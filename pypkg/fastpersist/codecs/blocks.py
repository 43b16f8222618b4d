"""A stream cut into blocks that several threads compress, for codecs that are Python modules.

Those release the GIL while they work. What a block becomes depends on its bytes alone, so the
number of threads changes nothing in the file. The thread that calls is one of the threads: it
cuts, writes, and compresses while it would have to wait.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

MOST_THREADS = 16  # more would wait for the one that cuts and writes


class _Job:
    __slots__ = ("arguments", "done", "error", "result")

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class InOrder:
    """Calls of one function on several threads; the results come in the order of the calls.

    `submit` takes a call, `take` waits for the oldest and gives its result. A thread is started by
    the call that finds the others busy, so one call alone starts none; `close` ends them.
    """

    def __init__(self, function: Callable[..., Any], n_threads: int) -> None:
        n_threads = min(n_threads, MOST_THREADS)
        self.n_slots = 1 if n_threads == 1 else n_threads + 2
        self._function = function
        self._n_wanted = n_threads - 1
        self._threads: list[threading.Thread] = []
        self._jobs: deque[_Job] = deque()  # in order; touched by the caller's thread alone
        self._waiting: deque[_Job] = deque()  # those that no thread has taken
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        self._is_closed = False
        self._owner = os.getpid()

    def __len__(self) -> int:
        return len(self._jobs)

    def submit(self, *arguments: Any) -> None:
        job = _Job(arguments)
        self._jobs.append(job)
        with self._lock:
            self._waiting.append(job)
            self._work.notify()
        n_running = len(self._threads)
        if n_running < self._n_wanted and len(self._jobs) > n_running + 1:
            self._start_thread()

    def take(self) -> Any:
        job = self._jobs[0]
        while True:
            with self._lock:
                if job.done:
                    break
                if not self._waiting:
                    self._progress.wait()
                    continue
                mine = self._waiting.popleft()
            self._do(mine)
        self._jobs.popleft()
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """End the threads; what none has begun is dropped."""
        if os.getpid() != self._owner:
            return  # they are the parent's, and may hold the lock
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            self._work.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._jobs.clear()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="fastpersist", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # none can be had: the others do the work
            self._n_wanted = len(self._threads)
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    if self._is_closed:
                        return
                    self._work.wait()
                job = self._waiting.popleft()
            self._do(job)

    def _do(self, job: _Job) -> None:
        try:
            job.result = self._function(*job.arguments)
        except BaseException as error:  # goes to the one who takes the result
            job.error = error
        with self._lock:
            job.done = True
            self._progress.notify()


class BlockWriter:
    """Base of the writers: cuts what is written into blocks, and has them compressed in order.

    A subclass has ``compress(block, is_last)``, called on any thread with a memoryview, and
    ``put(result)``, called in order by the thread that writes. `block_bytes` is its own. The file's
    ``write`` takes everything.
    """

    block_bytes: int

    def __init__(self, file: Any, n_threads: int) -> None:
        self.write_out = file.write
        self._calls = InOrder(self._compress, n_threads)
        self._free: list[bytearray] = []
        self._buffer: bytearray | None = None
        self._n_buffered = 0
        self._is_closed = False

    def compress(self, block: memoryview, is_last: bool) -> Any:
        raise NotImplementedError

    def put(self, result: Any) -> None:
        raise NotImplementedError

    def write(self, data: Any) -> int:
        if self._is_closed:
            raise ValueError("write to a closed stream")
        with memoryview(data).cast("B") as view:
            n_bytes = len(view)
            start = 0
            while start < n_bytes:
                if self._n_buffered == self.block_bytes:
                    self._submit(is_last=False)
                if self._buffer is None:
                    self._buffer = self._new_buffer()
                n_taken = min(n_bytes - start, self.block_bytes - self._n_buffered)
                end = self._n_buffered + n_taken
                self._buffer[self._n_buffered : end] = view[start : start + n_taken]
                self._n_buffered = end
                start += n_taken
        return n_bytes

    def close(self) -> None:
        """Write what is left and the end of the stream; the file stays open."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._submit(is_last=True)
            while self._calls:
                self._put_oldest()
            self.end()
        finally:
            self._calls.close()

    def abandon(self) -> None:
        """Drop what is left and end the threads."""
        self._is_closed = True
        self._calls.close()

    def end(self) -> None:
        """Called when everything is written."""

    def _new_buffer(self) -> bytearray:
        if len(self._calls) == self._calls.n_slots:
            self._put_oldest()
        return self._free.pop() if self._free else bytearray(self.block_bytes)

    def _submit(self, is_last: bool) -> None:
        buffer = self._buffer if self._buffer is not None else bytearray()
        self._calls.submit(buffer, self._n_buffered, is_last)
        self._buffer = None
        self._n_buffered = 0

    def _put_oldest(self) -> None:
        buffer, result = self._calls.take()
        self._free.append(buffer)
        self.put(result)

    def _compress(self, buffer: bytearray, n_bytes: int, is_last: bool) -> tuple[bytearray, Any]:
        with memoryview(buffer)[:n_bytes] as block:
            return buffer, self.compress(block, is_last)
