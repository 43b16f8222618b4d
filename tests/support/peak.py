"""The most memory that this process had resident, for scripts in a process of their own."""

import re


def peak_kib():
    """Linux only. Not ru_maxrss: a child started from a large process inherits that one's."""
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])
