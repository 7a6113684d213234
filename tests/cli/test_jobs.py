"""`mmbench run --jobs`: worker processes, what ends them, and what is kept."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

from mmbench import errors, failures, store
from mmbench.errors import MmbenchError, RunError, UnknownNameError
from mmbench.executors import _messages, pool, work

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--set", "width=16")

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]


def bits(results: str) -> dict[str, bytes]:
    """Return the files of a results folder that hold no times."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(Path(results).rglob("*"))
        if path.suffix in (".parquet", ".safetensors")
    }


def seeds(results: str = "results") -> list[int]:
    found, problems = store.scan(Path(results))
    assert not problems
    return sorted(stored.record.seed for stored in found)


def leftovers(results: str = "results") -> list[str]:
    return sorted(path.name for path in Path(results).rglob(".*"))


@pytest.fixture
def deadly(cli: Cli) -> str:
    """A fusion that kills its process where the file ``deadly`` is, which goes first."""
    cli("new", "fusion", "gates")
    file, first = Path("gates.py"), "        heard = [\n"
    text = file.read_text()
    assert first in text
    marker = str(Path("deadly").resolve())
    text = text.replace(
        first,
        f"        import os, signal\n"
        f"        try:\n"
        f"            os.unlink({marker!r})\n"
        f"        except FileNotFoundError:\n"
        f"            pass\n"
        f"        else:\n"
        f"            os.kill(os.getpid(), signal.SIGKILL)\n{first}",
    )
    file.write_text(text)
    return "./gates.toml"


# --- what comes out ------------------------------------------------------------------------------


def test_two_jobs_make_the_same_bits_as_one(cli: Cli, task: Write) -> None:
    arguments = ("run", "-t", task(), "-m", "late,hybrid", "--seeds", "2", *SMALL)
    one = cli(*arguments, "--results", "one", "--json", "-q")
    two = cli(*arguments, "--results", "two", "--json", "-q", "--jobs", "2")
    assert (one.code, two.code) == (0, 0)
    assert bits("one") == bits("two")
    assert len(bits("one")) == 4 * 3
    kept = ("task", "model", "seed", "status", "identity", "scores", "fresh")
    told = [[{key: run[key] for key in kept} for run in json.loads(d.out)] for d in (one, two)]
    assert told[0] == told[1], "in the plan's order, whichever ended first"
    assert not leftovers("two")


def test_lines_tell_of_all_runs_and_what_is_finished_is_not_done_again(
    cli: Cli, task: Write
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "3", *SMALL, "--jobs", "2")
    done = cli(*arguments)
    assert done.code == 0
    assert done.out.splitlines()[0].endswith(
        "3 of 3 runs to do, about 2 s at a guess, cpu, 2 at a time"
    )
    for number in (1, 2, 3):
        assert f"[{number}/3] mini/late seed {number - 1}: data" in done.err
        assert re.search(rf"\[{number}/3\] mini/late seed {number - 1}: step 6/6 ", done.err)
        assert f"mini/late seed {number - 1}: rouge_l " in done.err
    assert "mini/late  rouge_l " in done.out
    again = cli(*arguments)
    assert again.out.startswith("plan: 0 of 3 runs to do, about 0 s, cpu")
    assert again.err.count("finished before, rouge_l ") == 3
    assert "another process" not in again.err


def test_two_jobs_have_half_of_the_memory_each(cli: Cli, task: Write) -> None:
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "2", *SMALL, "--memory", "20KB")
    one = cli(*arguments, "--results", "one")
    two = cli(*arguments, "--results", "two", "--jobs", "2")
    assert (one.code, two.code) == (0, 0)
    assert "data may take 19.5 KiB of memory" in one.err
    assert "data may take 9.8 KiB of memory" in two.err
    assert "19.5" not in two.err
    assert bits("one") == bits("two")


def test_what_a_component_prints_is_a_line_and_not_part_of_the_json(cli: Cli, task: Write) -> None:
    cli("new", "fusion", "gates")
    file, first = Path("gates.py"), "        heard = [\n"
    file.write_text(file.read_text().replace(first, f"        print('it is', 'heard')\n{first}"))
    arguments = ("run", "-t", task(), "-m", "./gates.toml", *SMALL, "--seeds", "2")
    done = cli(*arguments, "--jobs", "2", "--json")
    assert len(json.loads(done.out)) == 2
    assert "it is heard" in done.err.splitlines()


@pytest.mark.parametrize("given", ["0", "-1", "two"])
def test_no_jobs_at_all_are_refused_in_a_line(cli: Cli, task: Write, given: str) -> None:
    done = cli("run", "-t", task(), "-m", "late", "--jobs", given)
    assert done.code == 2
    assert "--jobs" in done.error
    assert not Path("results").exists()


def test_more_jobs_than_cores_are_told(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmbench.doctor.machine.usable_cores", lambda: 2.0)
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "4", *SMALL, "--dry-run")
    done = cli(*arguments, "--jobs", "4")
    assert (
        "note: 4 runs at a time are more than the 2 cores here: they will wait for one another; "
        "--jobs 2 is as fast"
    ) in done.err
    assert "note" not in cli(*arguments, "--jobs", "2").err
    several = cli(*arguments, "--jobs", "2", "--threads", "2").err
    assert "2 runs at a time with 2 threads each are more than the 2 cores here" in several
    assert "they will wait for one another; --threads 1 is faster, --jobs 1 is as fast" in several
    batch = cli(*arguments, "--jobs", "4", "--batch-seeds")
    assert "note" not in batch.err, "the seeds of one model are one piece of work"
    assert "at a time" not in batch.out
    assert batch.out.count(", in a batch of 4 seeds") == 4


# --- what fails ----------------------------------------------------------------------------------


def test_a_worker_that_the_system_kills_fails_its_run_and_no_other(
    cli: Cli, task: Write, deadly: str
) -> None:
    Path("deadly").touch()
    arguments = ("run", "-t", task(), "-m", deadly, "--seeds", "4", *SMALL, "--jobs", "2")
    done = cli(*arguments)
    assert done.code == 1
    assert "its process was killed by the system, most likely because memory ran out" in done.error
    assert "fewer --jobs (now 2)" in done.error
    assert len(seeds()) == 3
    (failure,) = failures.scan(Path("results"))
    assert failure.seed not in seeds()
    assert failure.reason in done.error
    assert [n for n in leftovers() if n.endswith(".claim")] == [], "a dead process claims nothing"
    assert cli(*arguments).code == 0
    assert seeds() == [0, 1, 2, 3]
    assert failures.scan(Path("results")) == []


def test_one_job_alone_that_is_killed_leaves_a_claim_that_claims_nothing(
    cli: Cli, task: Write, deadly: str
) -> None:
    Path("deadly").touch()
    arguments = ["run", "-t", task(), "-m", deadly, *SMALL]
    killed = subprocess.run(
        [sys.executable, "-m", "mmbench", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(leftovers()) == 1
    assert cli(*arguments).code == 0
    assert leftovers() == []


def test_an_error_in_a_component_fails_its_runs_and_names_file_and_line(
    cli: Cli, task: Write
) -> None:
    cli("new", "fusion", "gates")
    file, first = Path("gates.py"), "        heard = [\n"
    text = file.read_text().replace(first, f"        streams['smell']\n{first}")
    file.write_text(text)
    line = text.splitlines().index("        streams['smell']") + 1
    arguments = ("run", "-t", task(), "-m", "./gates.toml,late", *SMALL, "--jobs", "2")
    done = cli(*arguments)
    assert done.code == 1
    assert f"gates.py:{line}: KeyError: 'smell'; --debug shows the way there" in done.error
    assert [stored.record.model for stored in store.scan(Path("results"))[0]] == ["late"]
    assert "Traceback" in cli(*arguments, "--debug").err


def test_a_component_that_has_gone_meanwhile_is_one_line(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("new", "fusion", "gates")
    start = pool.Pool.submit

    def late(self: pool.Pool, job: Any) -> None:
        Path("gates.py").unlink(missing_ok=True)
        start(self, job)

    monkeypatch.setattr(pool.Pool, "submit", late)
    done = cli("run", "-t", task(), "-m", "./gates.toml", "--seeds", "2", *SMALL, "--jobs", "2")
    assert done.code == 2
    assert "gates.py: cannot be read: No such file or directory" in done.error


def test_no_process_to_be_had_is_one_line(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(pool, "_Worker", refused)
    done = cli("run", "-t", task(), "-m", "late", "--seeds", "2", *SMALL, "--jobs", "2")
    assert done.code == 1
    assert "--jobs 2: no further process can be started (Resource temporarily" in done.error


def test_memory_that_is_full_says_what_helps() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    assert "fewer --jobs leave more" in str(work.unforeseen(OutOfMemoryError("CUDA: 2 GiB\n")))
    assert "not enough memory" in str(work.unforeseen(MemoryError()))
    assert str(work.unforeseen(ValueError("")))[:20] == "internal: ValueError"


def test_errors_are_what_they_were_on_the_other_side() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, MmbenchError)
    ]
    assert len(kinds) > 8
    made = [kind("what is wrong", *_MORE.get(kind.__name__, ())) for kind in kinds]
    for error in [*made, RunError("crashed", "the way there"), None]:
        again = _messages.unpack_error(_messages.pack_error(error))
        assert type(again) is type(error)
        if error is not None and again is not None:
            assert (str(again), again.exit_code) == (str(error), error.exit_code)
    named = UnknownNameError("model", "lte", ["late"])
    again = _messages.unpack_error(_messages.pack_error(named))
    assert str(again) == "unknown model 'lte': did you mean 'late'? known: late"
    trace = _messages.unpack_error(_messages.pack_error(RunError("crashed", "the way there")))
    assert isinstance(trace, RunError)
    assert trace.trace == "the way there"


_MORE: dict[str, tuple[Any, ...]] = {
    "ItemError": ("item1",),
    "UnknownNameError": ("x", ["y"]),
    "MissingExtraError": ("train",),
}


@pytest.mark.parametrize(
    ("code", "jobs", "said"),
    [
        (-9, 2, "fewer --jobs (now 2) or a smaller batch"),
        (-9, 1, "memory ran out: a smaller batch"),
        (-11, 2, "was ended by SIGSEGV"),
        (3, 2, "ended with exit code 3"),
    ],
)
def test_what_ended_a_process_is_told(code: int, jobs: int, said: str) -> None:
    assert said in pool._cause(code, jobs)


# --- what ends it all ----------------------------------------------------------------------------


@pytest.fixture
def endless(task: Write) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a sweep of two endless runs and one brief one, with two jobs."""
    brief = task("brief")
    long = task("long", ("steps = 6", "steps = 1000000"))
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        arguments = ["run", "-t", f"{brief},{long}", "-m", "late", *SMALL, "--jobs", "2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mmbench", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "brief/late seed 0: rouge_l" in line:
                break
        else:
            pytest.fail("".join(lines))
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def gone(processes: list[psutil.Process], within: float = 20.0) -> bool:
    return not psutil.wait_procs(processes, timeout=within)[1]


def test_ctrl_c_stops_all_workers_and_keeps_what_is_finished(
    endless: Callable[[], subprocess.Popen[str]],
) -> None:
    process = endless()
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 3, "the server and two workers"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted: 1 of 2 runs are finished and kept in ")
    assert gone(workers)
    assert leftovers() == []
    assert seeds() == [0]


def test_workers_do_not_outlive_who_started_them(
    endless: Callable[[], subprocess.Popen[str]],
) -> None:
    process = endless()
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert gone(workers)
    assert leftovers() == [], "each cleared away what it was at"
