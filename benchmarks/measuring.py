"""Time and peak memory of a call, on the CPU and on a GPU."""

import ctypes
import multiprocessing
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch


def timed(function: Callable, *args) -> float:
    """Return the seconds a call takes, the GPU's work included."""
    synchronise = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    synchronise()
    start = time.perf_counter()
    function(*args)
    synchronise()
    return time.perf_counter() - start


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far; memory that was freed goes back to the system, so that it counts when it is used again.

    Raises:
        NotImplementedError: For the CPU of a system other than Linux.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if not Path("/proc/self/clear_refs").exists():
        raise NotImplementedError("the peak memory of a part of a process can be had on Linux only")
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak since :func:`reset_peak_memory` in MB: of the GPU's allocations, or of the resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak[1]) / 2**10


def in_own_process(function: Callable, *args):
    """Return what a function returns in a process that is started for it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def marked(text: str, *, reached: bool) -> str:
    """Return a figure in Markdown, bold where it misses its mark."""
    return text if reached else f"**{text}**"
