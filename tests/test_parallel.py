"""Worker processes and a Dask cluster, alone and under the conversion."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from support.conversion_cases import files_below, names_in, run, write_single_channel_case
from threadpoolctl import threadpool_info, threadpool_limits

from nnunetv2_simple.parallel import in_background, open_workers

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")


@contextmanager
def cluster_of(num_workers):
    """The address of a cluster of some worker processes on this machine."""
    with distributed.LocalCluster(n_workers=num_workers, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def scheduler():
    with cluster_of(2) as address:
        yield address


@pytest.fixture
def scheduler_of_its_own():
    """For tests that kill workers. Dask does not start another in place of one that is killed while it starts, so
    there are enough of them: every item is given up at its first kill, is run once more alone, and two are left."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster_of(4) as address:
        yield address


@pytest.fixture(params=["here", "processes", "dask"])
def workers(request):
    """Each way to run the same."""
    if request.param == "dask":
        return {"dask_scheduler": request.getfixturevalue("scheduler")}
    return {"num_processes": 2 if request.param == "processes" else 1}


def square(number):
    return number**2


def num_threads(_):
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def fail(number):
    raise ZeroDivisionError(f"with {number}")


def die_of_item_3(item):
    if item == "item 3":
        time.sleep(0.5)  # the others are in work, or done
        os._exit(9)
    return "done"


def die_once(folder, item):
    """Die of item 3, but not again."""
    if item == "item 3" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(9)
    return "done"


def touch_slowly(folder, name):
    time.sleep(0.2)
    (folder / name).touch()


def wait_until(condition, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_every_item_is_yielded_with_its_result(workers):
    with open_workers(**workers) as run_items:
        assert sorted(run_items(square, range(20))) == [(number, number**2) for number in range(20)]
        assert list(run_items(square, [])) == []


def test_a_worker_keeps_to_one_thread(workers):
    with open_workers(**workers) as run_items:
        assert [threads for _, threads in run_items(num_threads, [1, 2, 3])] == [1, 1, 1]


def test_the_threads_of_a_dask_worker_keep_to_one_thread_too():
    with (
        threadpool_limits(limits=None),
        distributed.LocalCluster(1, processes=False, protocol="tcp://", dashboard_address=":0") as cluster,
        open_workers(dask_scheduler=cluster.scheduler_address) as run_items,
    ):
        assert [threads for _, threads in run_items(num_threads, [1])] == [1]


def test_an_unexpected_error_is_raised(workers):
    with open_workers(**workers) as run_items, pytest.raises(ZeroDivisionError, match="with 1"):
        list(run_items(fail, [1]))


ITEMS = [f"item {number}" for number in range(8)]


@pytest.fixture(params=["processes", "dask"])
def worker_processes(request):
    if request.param == "dask":
        return {"dask_scheduler": request.getfixturevalue("scheduler_of_its_own")}
    return {"num_processes": 2}


@pytest.mark.slow
def test_an_item_whose_worker_process_is_killed_is_run_again(worker_processes, tmp_path):
    with open_workers(**worker_processes) as run_items:
        assert dict(run_items(partial(die_once, tmp_path), ITEMS)) == dict.fromkeys(ITEMS, "done")


@pytest.mark.slow
def test_an_item_that_kills_every_worker_process_fails_alone(worker_processes):
    with open_workers(**worker_processes) as run_items:
        results = dict(run_items(die_of_item_3, ITEMS, killed=lambda item: f"{item} kills"))
    assert results == dict.fromkeys(ITEMS, "done") | {"item 3": "item 3 kills"}


@pytest.mark.slow
def test_it_is_named_where_nothing_stands_for_its_result(worker_processes):
    with open_workers(**worker_processes) as run_items, pytest.raises(ConnectionError, match="killed .* item 3"):
        list(run_items(die_of_item_3, ITEMS))
    with open_workers(**worker_processes) as run_items:
        assert sorted(run_items(square, range(4))) == [(number, number**2) for number in range(4)]


@pytest.mark.parametrize(
    ("address", "named"), [("tcp://127.0.0.1:1", "127.0.0.1:1"), ("nowhere", "nowhere"), ("tcp://:x", "tcp://:x")]
)
def test_a_scheduler_that_does_not_answer_is_named(address, named):
    with pytest.raises(ConnectionError, match=named), open_workers(dask_scheduler=address):
        pass


def test_a_cluster_without_workers_is_refused(monkeypatch):
    monkeypatch.setattr("nnunetv2_simple.parallel.DASK_TIMEOUT_S", 1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        pytest.raises(ConnectionError, match="not ready"),
        open_workers(dask_scheduler=cluster.scheduler_address),
    ):
        pass


@pytest.mark.parametrize(("lost", "named"), [("scheduler", "lost"), ("worker", "no worker for 2 s")])
def test_a_cluster_that_is_lost_is_reported(lost, named, tmp_path, monkeypatch):
    monkeypatch.setattr("nnunetv2_simple.parallel.DASK_TIMEOUT_S", 5)
    monkeypatch.setattr("nnunetv2_simple.parallel.NO_WORKERS_TIMEOUT_S", 2)
    file, dask = tmp_path / "scheduler.json", [sys.executable, "-m", "dask"]
    with (
        subprocess.Popen([*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", file]) as scheduler,
        subprocess.Popen([*dask, "worker", "--no-nanny", "--no-dashboard", "--scheduler-file", file]) as worker,
    ):
        try:
            wait_until(file.exists)
            address = json.loads(file.read_text())["address"]
            with pytest.raises(ConnectionError, match=named), open_workers(dask_scheduler=address) as run_items:
                for _ in run_items(time.sleep, [0, 300]):
                    (worker if lost == "worker" else scheduler).kill()
        finally:
            scheduler.kill()
            worker.kill()


def test_without_distributed_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install .*dask"), open_workers(dask_scheduler="tcp://127.0.0.1:1"):
        pass


SLOW_WORK = """
import os, sys, time
from pathlib import Path
from nnunetv2_simple.parallel import in_background

def note_and_sleep(folder, name):
    (Path(folder) / name).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    in_background(note_and_sleep, [(sys.argv[1], "1"), (sys.argv[1], "2")], num_processes=2)
"""


def test_background_processes_end_with_the_one_that_started_them(tmp_path):
    (tmp_path / "slow_work.py").write_text(SLOW_WORK)
    notes = tmp_path / "1", tmp_path / "2"
    process = subprocess.Popen([sys.executable, tmp_path / "slow_work.py", tmp_path])
    try:
        wait_until(lambda: all(note.is_file() and note.read_text() for note in notes))
    finally:
        process.kill()  # it alone, as where memory runs out
        process.wait()
    wait_until(lambda: not any(psutil.pid_exists(int(note.read_text())) for note in notes))


def test_two_results_at_most_wait_for_the_processes_in_the_background(tmp_path):
    def results():
        for number in range(9):
            num_done = len(list(tmp_path.iterdir()))
            assert number - num_done <= 2 + 2  # this one is still worked out
            yield tmp_path, str(number)

    in_background(touch_slowly, results(), num_processes=2)
    assert len(list(tmp_path.iterdir())) == 9


@pytest.mark.parametrize("num_processes", [1, 2])
def test_results_of_the_background_are_complete(num_processes):
    found = in_background(divmod, [(number, 4) for number in range(20)], num_processes=num_processes)
    assert sorted(found) == [divmod(number, 4) for number in range(20)]


def test_what_fails_in_the_background_is_raised():
    with pytest.raises(ZeroDivisionError):
        in_background(divmod, [(1, 1), (1, 0)], num_processes=2)


def test_what_was_in_work_when_a_background_process_was_killed_is_named():
    with pytest.raises(ConnectionError, match="killed .* item 3.*nnUNet_def_n_proc to less than 2"):
        in_background(die_of_item_3, [("item 1",), ("item 3",)], num_processes=2)


POOL_OF_NNUNETS = """
import os, signal, sys, time
from pathlib import Path
from multiprocessing import get_context
from nnunetv2_simple.parallel import ends_with_killed_workers

def be_killed():
    time.sleep(3)
    os.kill(os.getpid(), signal.SIGKILL)

def note(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    with ends_with_killed_workers(lambda reason: print(reason, flush=True), "the validation", "Use fewer."):
        with get_context("spawn").Pool(2) as pool:
            pool.apply_async(note, (sys.argv[1],))
            pool.apply_async(be_killed).get()
"""


def test_a_pool_whose_worker_was_killed_is_not_waited_for(tmp_path):
    (tmp_path / "pool.py").write_text(POOL_OF_NNUNETS)
    (notes := tmp_path / "notes").mkdir()
    process = subprocess.run([sys.executable, tmp_path / "pool.py", notes], stdout=subprocess.PIPE, text=True)
    assert process.returncode == 1
    assert "a worker process of the validation was killed (out of memory?). Use fewer." in process.stdout
    (other,) = [int(note.name) for note in notes.iterdir()]
    wait_until(lambda: not psutil.pid_exists(other))


@pytest.mark.parametrize("num_processes", [0, -1])
def test_the_number_of_processes_must_be_positive(num_processes):
    with pytest.raises(ValueError, match=str(num_processes)), open_workers(num_processes=num_processes):
        pass


# ---------------------------------------------------------------------------------------------------- the conversion


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        write_single_channel_case(tmp_path, f"case_{seed}", seed=seed)
    return tmp_path


def arguments_of(folder):
    return ["-i", folder / "images", "-m", folder / "masks", "-d", 5, "-n", "Parallel", "-jitter_mm", 1]


def test_all_ways_make_the_same_dataset(folder, scheduler, monkeypatch):
    assert run(monkeypatch, folder / "here", *arguments_of(folder)) == 0
    assert run(monkeypatch, folder / "processes", *arguments_of(folder), "-np", 2) == 0
    assert run(monkeypatch, folder / "dask", *arguments_of(folder), "-dask", scheduler) == 0
    expected = files_below(folder / "here")
    # image, label, walker's probabilities, reference, two pictures, record; page, provenance.json, dataset.json
    assert len(expected) == 3 * 7 + 3
    assert files_below(folder / "processes") == files_below(folder / "dask") == expected


def test_paths_may_be_relative_although_dask_workers_run_elsewhere(folder, scheduler, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["-i", "images", "-m", "masks", "-d", 5, "-n", "Parallel", "--dask", scheduler]
    assert run(monkeypatch, "raw", *words) == 0
    assert len(names_in(folder / "raw" / "Dataset005_Parallel" / "labelsTr")) == 3


def test_an_unreachable_scheduler_ends_the_command_before_any_work(folder, monkeypatch, capsys):
    assert run(monkeypatch, folder / "raw", *arguments_of(folder)) == 0
    before = files_below(folder / "raw")
    assert run(monkeypatch, folder / "raw", *arguments_of(folder), "--overwrite", "--dask", "tcp://127.0.0.1:1") == 2
    assert "tcp://127.0.0.1:1" in capsys.readouterr().err
    assert files_below(folder / "raw") == before


@pytest.mark.parametrize("kind", ["processes", "dask"])
@pytest.mark.slow
def test_a_case_that_kills_its_worker_fails_alone(kind, folder, request):
    """Whichever process reads the image of this case is killed, as where memory runs out."""
    endless = folder / "images" / "case_1_0000.nii.gz"
    content = endless.read_bytes()
    endless.unlink()
    os.mkfifo(endless)
    options = ["-dask", request.getfixturevalue("scheduler_of_its_own")] if kind == "dask" else ["-np", 2]
    words = [sys.executable, "-m", "nnunetv2_simple.conversion.command_line", *arguments_of(folder), *options]
    words, environment = [str(word) for word in words], os.environ | {"nnUNet_raw": str(folder / "raw")}
    dataset = folder / "raw" / "Dataset005_Parallel"
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: len(list((dataset / "labelsTr").glob("[!.]*"))) == 2)
            wait_until(lambda: process.poll() is not None or kill_the_reader_of(endless))
        finally:
            process.kill()
        stderr = process.stderr.read()
    assert process.returncode == 1, stderr
    (failed,) = [line for line in stderr.splitlines() if line.startswith("FAILED")]
    assert failed.startswith("FAILED case_1: its worker process was killed")
    assert names_in(dataset / "labelsTr") == ["case_0.nii.gz", "case_2.nii.gz"]
    assert (dataset / "dataset.json").exists()
    assert not [path for path in folder.rglob("*") if "partial" in path.name]

    endless.unlink()
    endless.write_bytes(content)
    subprocess.run(words, env=environment, check=True)
    assert len(names_in(dataset / "labelsTr")) == 3


def kill_the_reader_of(fifo: Path):
    """Kill the process below this one that waits for the first byte of a file, if there is one."""
    try:
        writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads it
        time.sleep(0.05)
        return
    try:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                if any(link.resolve() == fifo for link in Path(f"/proc/{process.pid}/fd").iterdir()):
                    process.kill()
    finally:
        os.close(writer)
