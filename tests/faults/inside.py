"""For the scripts that run with a preloaded library: the library, and what a call may not leak."""

import ctypes
import os
import time

import fastpersist._core


def text_of_core():
    """Where the code of the extension lies in memory, from and to."""
    name = os.path.realpath(fastpersist._core.__file__)
    low, high = 0, 0
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(name) and " r-xp " in line:
                first, last = (int(x, 16) for x in line.split()[0].split("-"))
                low, high = low or first, last
    assert high, name
    return low, high


class Resources:
    """Descriptors and threads of the process now."""

    def __init__(self):
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.threads = len(os.listdir("/proc/self/task"))

    @classmethod
    def settled(cls):
        """A thread that was joined is listed for a moment more: what stays for ten milliseconds."""
        found = cls()
        while True:
            time.sleep(0.01)
            last, found = found, cls()
            if vars(last) == vars(found):
                return found

    def are_back(self, seconds=5):
        """Whether it is as it was, soon."""
        end = time.monotonic() + seconds
        while vars(Resources()) != vars(self):
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    def __repr__(self):
        return f"{self.descriptors} descriptors, {self.threads} threads"


class mallinfo2(ctypes.Structure):
    _fields_ = [(field, ctypes.c_size_t) for field in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                 "uordblks", "fordblks", "keepcost")]  # fmt: skip


def bytes_in_use():
    """Of malloc(); 0 where this C library does not say."""
    info = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if info is None:
        return 0
    info.restype = mallinfo2
    found = info()
    return found.uordblks + found.hblkhd


class SystemCalls:
    """syscall_faults.c."""

    SHORT = -1
    FOR_GOOD = 1 << 40

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.fault_arm.argtypes = [
            ctypes.c_char_p,
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_int,
            ctypes.c_size_t,
            ctypes.c_size_t,
        ]
        for name in ("fault_used", "fault_failed"):
            getattr(self.library, name).restype = ctypes.c_long
        self.library.fault_used.argtypes = [ctypes.c_char_p]
        self.core = text_of_core()

    def arm(self, call="", n=0, n_times=1, error=5, everybody=False):
        low, high = (0, 0) if everybody else self.core
        assert self.library.fault_arm(call.encode(), n, n_times, error, low, high) == 0, call

    def disarm(self):
        self.library.fault_disarm()

    def used(self, call):
        return self.library.fault_used(call.encode())

    @property
    def failed(self):
        return self.library.fault_failed()


class Memory:
    """memory_faults.c."""

    FOR_GOOD = 1 << 40

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.memory_arm.argtypes = [
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_size_t,
            ctypes.c_size_t,
        ]
        for name in ("memory_used", "memory_failed"):
            getattr(self.library, name).restype = ctypes.c_long
        self.core = text_of_core()

    def arm(self, n, n_times=1, everybody=False):
        low, high = (0, 0) if everybody else self.core
        self.library.memory_arm(n, n_times, low, high)

    def disarm(self):
        self.library.memory_disarm()

    @property
    def failed(self):
        return self.library.memory_failed()
