"""Running one function on many cases: in this process, in worker processes, or on a Dask cluster."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import get_context

import joblib
from threadpoolctl import threadpool_limits

from nnunetv2_simple import __version__

DASK_TIMEOUT_S = 10
NO_WORKERS_TIMEOUT_S = 600  # Dask and queues of jobs start other workers, but not always
DASK_CHECKED_EVERY_S, RESULT_AWAITED_S = 5, 0.1
PARENT_CHECKED_EVERY_S = 0.5
NUM_QUEUED = 2  # results that may wait for a process in the background, as in nnU-Net's validation


def _raise_killed(item) -> None:
    raise ConnectionError(f"a worker process was killed (out of memory?) while working on {str(item)[:200]}")


def reason_of(error: Exception) -> str:
    """Return why an item failed; errors that were not foreseen are named by their type as well."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


@contextmanager
def open_workers(*, num_processes: int = 1, dask_scheduler: str | None = None) -> Iterator[Callable]:
    """Provide ``run(function, items)``, which yields (item, function(item)) in the order in which they finish.

    Every worker keeps to one thread of linear algebra. An item during which a worker process is killed is run again,
    and given up if that kills another one: ``run(function, items, killed=...)`` names a function of the item whose
    result is yielded then; by default a ConnectionError is raised.

    Args:
        num_processes: Worker processes on this machine; with 1 everything runs in this process.
        dask_scheduler: Address of a Dask scheduler, such as ``tcp://host:8786``; its workers do the work then.

    Raises:
        ValueError: If ``num_processes`` is not positive, or Dask's package ``distributed`` is not installed.
        ConnectionError: If the scheduler or its workers cannot be reached or cannot import this package, and, while
            running, if the scheduler or all workers are lost.
    """
    if num_processes < 1:
        raise ValueError(f"the number of worker processes must be at least 1, got {num_processes}")
    if dask_scheduler is None:
        yield partial(_run_on_this_machine, num_processes)
    else:
        with _dask_client(dask_scheduler) as client:
            yield partial(_run_on_dask, client)


def _run_on_this_machine(
    num_processes: int, function: Callable, items: Iterable, killed: Callable = _raise_killed
) -> Iterator[tuple]:
    def run_in_pool(some: Iterable) -> Iterator[tuple]:
        parent = {"initializer": end_with_parent, "initargs": (os.getpid(),)}
        pool = joblib.Parallel(num_workers, return_as="generator_unordered", batch_size=1, **parent)
        yield from pool(joblib.delayed(_call)(function, item) for item in some)

    pending = list(items)
    # one process for each item at most; two at least, as the only one would be this process, which may not be killed
    num_workers = min(num_processes, max(len(pending), 2))
    while pending:
        try:
            for item, result in run_in_pool(list(pending)):
                pending.remove(item)
                yield item, result
        except BrokenProcessPool:
            # which item it was is not known, so those that may have been in work are run one at a time
            for item in pending[: 2 * num_processes]:
                try:
                    ((_, result),) = run_in_pool([item])
                except BrokenProcessPool:
                    result = killed(item)
                pending.remove(item)
                yield item, result


def _run_on_dask(client, function: Callable, items: Iterable, killed: Callable = _raise_killed) -> Iterator[tuple]:
    from distributed import KilledWorker, as_completed

    given_up = []

    # not by joblib, whose Dask backend waits for ever for an item that Dask has given up
    def run_on_cluster(some: Iterable) -> Iterator[tuple]:
        futures = {client.submit(partial(_call, function), item, pure=False): item for item in some}
        completed = as_completed(futures, loop=client.loop)
        while futures:
            _wait_for_result(completed, client)
            future = next(completed)
            item = futures.pop(future)
            try:
                result = future.result()
            except KilledWorker:
                given_up.append(item)
                continue
            except CancelledError as error:
                raise ConnectionError(
                    f"the Dask scheduler was lost, run the same command again to resume: {error}"
                ) from error
            future.release()  # Dask would run it again if the worker that keeps the result were killed
            yield result

    yield from run_on_cluster(items)
    # Dask also gives up what only waited at the workers that were killed, so each is run once more, alone
    for item in given_up.copy():
        given_up.clear()
        yield from run_on_cluster([item])
        if given_up:
            yield item, killed(item)


def _wait_for_result(completed, client) -> None:
    workers_seen = checked = time.monotonic()
    while not completed.has_ready():
        time.sleep(RESULT_AWAITED_S)
        if time.monotonic() < checked + DASK_CHECKED_EVERY_S:
            continue
        if client.scheduler_info().get("workers", True):  # empty without a scheduler
            workers_seen = time.monotonic()
        checked = time.monotonic()
        if checked > workers_seen + NO_WORKERS_TIMEOUT_S:
            raise ConnectionError(
                f"the Dask cluster has had no worker for {NO_WORKERS_TIMEOUT_S} s, were all killed (out of memory?): "
                "start some and run the same command again to resume"
            )


def _call(function: Callable, item) -> tuple:
    with threadpool_limits(limits=1):
        return item, function(item)


@contextmanager
def _dask_client(address: str) -> Iterator:
    try:
        import distributed
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise ValueError("Dask clusters need the package distributed: pip install 'nnunetv2_simple[dask]'") from error
    try:
        # a Client that cannot connect leaves threads and tracebacks behind
        socket.create_connection(get_address_host_port(address), timeout=DASK_TIMEOUT_S).close()
        client = distributed.Client(address, timeout=DASK_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=DASK_TIMEOUT_S)
            versions = {__version__, *client.run(_installed_version).values()}
        except Exception as error:
            raise ConnectionError(f"the Dask workers at {address} are not ready: {error!r}") from error
        if len(versions) > 1:
            raise ConnectionError(f"all Dask workers need the same nnunetv2_simple as here, got {sorted(versions)}")
        yield client


def _installed_version() -> str:
    return __version__


def in_background(function: Callable, arguments: Iterable[tuple], *, num_processes: int) -> list:
    """Call a function with each of some arguments, in other processes while the next arguments are worked out.

    Args:
        function: What it raises is raised here. Its first argument names the work.
        arguments: Taken no faster than the processes keep up with: at most two calls wait for a process.
        num_processes: With 1 or less this process does the work itself.

    Returns:
        What the calls returned, in no particular order.

    Raises:
        ConnectionError: If a process is killed, naming what was in work.
    """
    if num_processes <= 1:
        return [function(*arguments_of_call) for arguments_of_call in arguments]
    parent = {"initializer": end_with_parent, "initargs": (os.getpid(),)}
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"), **parent) as pool:
        names = {}  # of the calls that are not finished
        results = []  # of the others
        try:
            for arguments_of_call in arguments:
                names[pool.submit(function, *arguments_of_call)] = str(arguments_of_call[0])[:200]
                is_queue_full = len(names) >= num_processes + NUM_QUEUED
                for future in wait(names, None if is_queue_full else 0, FIRST_COMPLETED).done:
                    results.append(future.result())
                    del names[future]
            results += [future.result() for future in names]
        except BrokenProcessPool as error:
            raise ConnectionError(
                f"a worker process was killed (out of memory?) while some worked on {', '.join(names.values())}: set "
                f"nnUNet_def_n_proc to less than {num_processes}"
            ) from error
    return results


@cache
def end_with_parent(parent: int | None = None) -> None:
    """Let this process end within a second after the one that started it, even if that is killed.

    Args:
        parent: Process id of the parent, which may have ended already; by default the present parent.
    """
    parent = os.getppid() if parent is None else parent

    def wait_for_the_end() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECKED_EVERY_S)
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


def _kill_children() -> None:
    for child in multiprocessing.active_children():
        child.kill()


@contextmanager
def ends_with_killed_workers(say: Callable[[str], None], what: str, advice: str) -> Iterator[None]:
    """End this process and its workers, with status 1, if one of them is killed.

    A pool of multiprocessing, which nnU-Net's validation and prediction use, waits without end for the result of a
    worker that was killed. What runs its workers itself needs none of this.

    Args:
        say: Called with the reason.
        what: What is at work, for the reason.
        advice: What to do.
    """
    is_over = threading.Event()

    def watch() -> None:
        workers = set()
        while not is_over.wait(PARENT_CHECKED_EVERY_S):
            workers.update(multiprocessing.active_children())
            if any(worker.exitcode == -9 for worker in workers):  # SIGKILL, which Windows has no name for
                try:
                    say(f"ERROR: a worker process of {what} was killed (out of memory?). {advice}")
                finally:
                    _kill_children()  # they would wait for ever
                    os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


@contextmanager
def children_end_on_sigterm() -> Iterator[None]:
    """Let a SIGTERM that ends this process end its child processes first; without it they would go on for ever.

    A handler that somebody else has installed is left alone, and so are threads, which cannot have one.
    """

    def end(signal_number: int, _) -> None:
        _kill_children()
        signal.signal(signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), signal_number)

    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
