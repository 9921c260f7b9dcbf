"""Processes that run, and the end of those that should not."""

import os
import signal
import time
from pathlib import Path

ORPHANS_END_WITHIN_S = 120  # workers that have just begun import their packages first


def members(group: int) -> list[int]:
    """Return the processes of a process group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def kill(leader: int, *, alone: bool) -> int:
    """Kill a child that leads a process group, alone or with the group.

    Returns:
        How many processes of the group are left after some time; they are killed then.
    """
    (os.kill if alone else os.killpg)(leader, signal.SIGKILL)
    os.waitpid(leader, 0)
    end = time.monotonic() + ORPHANS_END_WITHIN_S
    while members(leader) and time.monotonic() < end:
        time.sleep(0.1)
    orphans = members(leader)
    if orphans:
        os.killpg(leader, signal.SIGKILL)
    return len(orphans)
