"""Processes that run, and the end of those that should not."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

WHOM = ("process", "worker", "group")  # is killed
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


def kill(leader: int, whom: str) -> int:
    """Kill a child that leads a process group: "process" alone, the whole "group", or a "worker", its youngest process.

    Without its worker the leader has to end by itself.

    Returns:
        How many processes of the group are left after some time; they are killed then.
    """
    if whom == "group":
        os.killpg(leader, signal.SIGKILL)
    else:
        with suppress(ProcessLookupError):  # the worker has just ended
            os.kill(leader if whom == "process" else max(members(leader), default=leader), signal.SIGKILL)
    end = time.monotonic() + ORPHANS_END_WITHIN_S
    while members(leader) and time.monotonic() < end:
        time.sleep(0.1)
    orphans = members(leader)
    if orphans:
        os.killpg(leader, signal.SIGKILL)
    os.waitpid(leader, 0)
    return len(orphans)
