"""Running one function on many cases: in this process, in worker processes, or on a Dask cluster."""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from uuid import uuid4

import joblib
from threadpoolctl import threadpool_limits

from nnunetv2_simple import __version__

DASK_TIMEOUT_S = 10


@contextmanager
def open_workers(*, num_processes: int = 1, dask_scheduler: str | None = None) -> Iterator[Callable]:
    """Provide ``run(function, items)``, which yields (item, function(item)) in the order in which they finish.

    Every worker keeps to one thread of linear algebra. A worker process that dies takes its items with it; they are
    run once more, so a function that must not be killed twice by the same item has to refuse an item it began before.

    Args:
        num_processes: Worker processes on this machine; with 1 everything runs in this process.
        dask_scheduler: Address of a Dask scheduler, such as ``tcp://host:8786``; its workers do the work then.

    Raises:
        ValueError: If ``num_processes`` is not positive, or Dask's package ``distributed`` is not installed.
        ConnectionError: If the scheduler or its workers cannot be reached or cannot import this package, and, while
            running, if all worker processes keep dying or the scheduler is lost.
    """
    if num_processes < 1:
        raise ValueError(f"the number of worker processes must be at least 1, got {num_processes}")
    if dask_scheduler is not None:
        with _dask_client(dask_scheduler) as client:
            yield partial(_run_on_dask, client)
    elif num_processes == 1:
        yield _run_here
    else:
        yield partial(_run_in_processes, num_processes)


def in_background(function: Callable, arguments: Iterable[tuple], *, num_processes: int) -> None:
    """Call a function with each of some arguments, in other processes while the next arguments are worked out.

    Args:
        function: Called for its effect; what it raises is raised here.
        arguments: Taken no faster than the processes keep up with.
        num_processes: With 1 or less this process does the work itself.
    """
    if num_processes <= 1:
        for arguments_of_call in arguments:
            function(*arguments_of_call)
        return
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        pending = set()
        for arguments_of_call in arguments:
            pending.add(pool.submit(function, *arguments_of_call))
            is_queue_full = len(pending) > 2 * num_processes
            done, pending = wait(pending, timeout=None if is_queue_full else 0, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
        for future in pending:
            future.result()


def _end_with_parent() -> None:
    """Let this process end when the one that started it is gone, were it killed."""

    def wait_for_the_end() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


@contextmanager
def children_end_on_sigterm() -> Iterator[None]:
    """Let a SIGTERM that ends this process end its child processes first; without it they would go on for ever.

    A handler that somebody else has installed is left alone, and so are threads, which cannot have one.
    """

    def end(signal_number: int, _) -> None:
        for child in multiprocessing.active_children():
            child.kill()
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


def _run_here(function: Callable, items: Iterable) -> Iterator[tuple]:
    with threadpool_limits(limits=1):
        for item in items:
            yield item, function(item)


def _run_in_processes(num_processes: int, function: Callable, items: Iterable) -> Iterator[tuple]:
    pending = list(items)
    num_pending_at_last_death = None
    while pending:
        with joblib.parallel_config(backend="loky", n_jobs=num_processes, inner_max_num_threads=1):
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
        try:
            for item, result in parallel([joblib.delayed(_call)(function, item) for item in pending]):
                pending.remove(item)
                yield item, result
        except BrokenProcessPool as error:
            if len(pending) == num_pending_at_last_death:
                raise ConnectionError(
                    f"worker processes keep dying (out of memory?), {len(pending)} cases are left: {error}"
                ) from error
            num_pending_at_last_death = len(pending)


def _run_on_dask(client, function: Callable, items: Iterable) -> Iterator[tuple]:
    with joblib.parallel_config(backend="dask", client=client):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    run = uuid4().hex
    try:
        yield from parallel(
            [joblib.delayed(_call_on_dask)(function, item, f"{run}-{number}") for number, item in enumerate(items)]
        )
    except CancelledError as error:
        raise ConnectionError(f"the Dask scheduler was lost, run the same command again to go on: {error}") from error


def _call(function: Callable, item) -> tuple:
    threadpool_limits(limits=1)
    return item, function(item)


def _call_on_dask(function: Callable, item, name: str) -> tuple:
    """Call the function, but refuse an item that was begun twice before: each time its worker process died.

    Dask itself gives such an item up after its fourth worker, and joblib would wait for it for ever.
    """
    from distributed import Event, get_worker

    try:
        get_worker()
    except ValueError:  # joblib itself runs what a cluster of a single thread would
        return _call(function, item)
    begun = next((event for event in (Event(f"{name}-first"), Event(f"{name}-second")) if not event.is_set()), None)
    if begun is None:
        raise ConnectionError(f"worker processes keep dying (out of memory?), the last two with {str(item)[:200]}")
    begun.set()
    try:
        return _call(function, item)
    finally:
        begun.clear()


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
