"""Several runs: which goes first, which fails, which are left, and who makes which."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import filelock
import msgspec
import pytest

from mmbench import claims, failures, store, sweep
from mmbench.errors import DataError, PlaceError
from mmbench.executors import Job, Outcome, work
from mmbench.executors.serial import Serial
from mmbench.forecast import Forecast, Remaining
from mmbench.run import Run, Settings

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--set", "width=16")

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]


def seeds(results: str = "results") -> list[int]:
    found, problems = store.scan(Path(results))
    assert not problems
    return sorted(stored.record.seed for stored in found)


def leftovers() -> list[str]:
    return sorted(path.name for path in Path("results").rglob(".*"))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds whose runs fail."""
    those: list[int] = []
    execute = work.execute

    def run_or_fail(run: Any, watcher: Any) -> Any:
        if run.seed in those:
            raise DataError(f"scene {run.seed} is broken")
        return execute(run, watcher)

    monkeypatch.setattr(work, "execute", run_or_fail)
    return those


# --- what fails ----------------------------------------------------------------------------------


def test_a_run_that_fails_is_told_by_everyone_and_ranked_by_no_one(
    cli: Cli, task: Write, broken: list[int]
) -> None:
    broken.append(1)
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "3", *SMALL)
    assert cli(*arguments).code == 4
    assert seeds() == [0, 2]
    (failure,) = failures.scan(Path("results"))
    assert (failure.task, failure.model, failure.budget, failure.seed, failure.kind) == (
        *("mini", "late", "brief"),
        *(1, "DataError"),
    )
    assert failure.reason == "scene 1 is broken"
    told = f"failed {failure.when}: scene 1 is broken"
    plan = cli(*arguments, "--dry-run").out
    (line,) = (line for line in plan.splitlines() if "seed 1: to do, about " in line)
    assert line.endswith(f"; {told}")
    planned = json.loads(cli(*arguments, "--dry-run", "--json").out)
    assert [run["failed"] for run in planned] == [None, f"{failure.when}: scene 1 is broken", None]
    shown = cli("show", "mini/late", "--no-figures")
    assert f"warning: mini/late brief seed 1 {told}" in shown.err
    missing = cli("show", f"mini/late/brief-s1-{failure.identity[:8]}")
    assert missing.code == 4
    assert f"{told}; the same 'mmbench run' tries it again" in missing.error
    checks = {c["name"]: c for c in json.loads(cli("doctor", "--json").out)["checks"]}
    assert checks["failed runs"]["status"] == "warn"
    assert "1 run failed, last mini/late brief seed 1" in checks["failed runs"]["text"]
    board = json.loads(cli("leaderboard", "--json").out)["boards"][0]
    assert [row["seeds"] for row in board["rows"]] == [2]
    assert "failed" not in cli("verify").out.partition("next:")[0].replace("0 failed", "")
    broken.clear()
    assert cli(*arguments).code == 0
    assert failures.scan(Path("results")) == []
    assert leftovers() == []
    checks = {c["name"]: c for c in json.loads(cli("doctor", "--json").out)["checks"]}
    assert "failed runs" not in checks


def test_what_is_said_of_a_failure_is_one_harmless_line(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "mini" / "late" / "brief-s0-12345678"
    folder.parent.mkdir(parents=True)
    what = {"task": "mini", "model": "late", "budget": "brief", "identity": "1" * 64}
    failures.write(folder, **what, seed=0, error=DataError("\x1b[31mtwo\nlines"))
    (failure,) = failures.scan(tmp_path / "results")
    assert "\x1b" not in failure.said
    assert "\n" not in failure.said
    path = failures.path_of(folder)
    path.write_bytes(path.read_bytes().replace(b"two", b"too"))
    assert failures.scan(tmp_path / "results") == [], "it was edited: it is none"
    path.write_bytes(b"{")
    assert failures.of(folder) is None
    failures.clear(folder)
    assert not path.exists()


def test_fail_fast_stops_at_the_first_that_fails(cli: Cli, task: Write, broken: list[int]) -> None:
    broken += [1, 2]
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "4", *SMALL)
    done = cli(*arguments, "--fail-fast")
    assert done.code == 4
    assert done.error == "error: mini/late seed 1: scene 1 is broken"
    assert done.err.splitlines()[-1] == (
        "stopped: 2 runs are left (mini/late seed 2, mini/late seed 3); "
        "the same command goes on with them"
    )
    assert seeds() == [0]
    told = json.loads(cli(*arguments, "--fail-fast", "--json").out)
    assert [run["status"] for run in told] == ["finished", "left", "failed", "left"], (
        "what failed is last"
    )


def test_fail_fast_stops_at_a_run_that_diverges_and_goes_on_the_next_time(
    cli: Cli, task: Write
) -> None:
    rate = "recipe.stages.0.objectives.0.optimizer.lr=1e30"
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "3", *SMALL, "--set", rate)
    for made in ([0], [0, 1], [0, 1, 2]):  # what is there already stops nothing
        done = cli(*arguments, "--fail-fast")
        assert done.code == 1
        assert ("the same command goes on with " in done.err) == (len(made) < 3)
        assert seeds() == made
    again = cli(*arguments, "--fail-fast")
    assert again.code == 1, "it is told all the same"
    assert again.out.startswith("plan: 0 of 3 runs to do")


def test_fail_fast_is_not_stopped_by_a_record_that_was_damaged_before(
    cli: Cli, task: Write
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments, "--seeds", "1")
    (stored,) = store.scan(Path("results"))[0]
    (stored.folder / "record.json").write_text("{")
    done = cli(*arguments, "--seeds", "2", "--fail-fast")
    assert done.code != 0
    assert "--force repeats the run" in done.error
    assert len(list(Path("results").glob("*/*/*-s1-*/record.json"))) == 1


def test_fail_fast_with_several_jobs_stops_those_that_run(cli: Cli, task: Write) -> None:
    cli("new", "fusion", "gates")
    file, first = Path("gates.py"), "        heard = [\n"
    file.write_text(file.read_text().replace(first, f"        streams['smell']\n{first}"))
    endless = task("endless", ("steps = 6", "steps = 1000000"))
    arguments = ("run", "-t", f"{endless},{task()}", "-m", "late,./gates.toml", *SMALL)
    done = cli(*arguments, "--jobs", "2", "--fail-fast")
    assert done.code == 1
    assert "KeyError: 'smell'" in done.error
    assert "left (" in done.err.splitlines()[-1]
    assert [name for name in leftovers() if not name.endswith(".failed.json")] == []


# --- time ----------------------------------------------------------------------------------------


class Clock:
    """Runs of the seconds that their models are called by, on a clock of their own."""

    slots = 1

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.begun: list[str] = []
        self.waiting: list[Job] = []
        self.ended = ""

    def submit(self, job: Job) -> None:
        assert not self.ended
        self.waiting.append(job)

    def outcomes(self, seconds: float | None = None) -> list[Outcome]:
        (run,) = self.waiting.pop(0).runs
        self.begun.append(run.model.name)
        self.now += self.seconds[run.model.name]
        return [Outcome(run, error=DataError("not kept"))]

    def cancel(self) -> None:
        self.ended = "cancelled"

    def close(self) -> None:
        self.ended = "closed"


class Known(Forecast):
    """Knows how long models take by their names."""

    def __init__(self, seconds: dict[str, float]) -> None:
        super().__init__([])
        self.lasts = seconds

    def seconds(self, run: Run) -> float | None:
        return self.lasts.get(run.model.name)

    def cost(self, run: Run) -> float:
        return self.lasts.get(run.model.name, 0.0)


@pytest.fixture
def runs(task: Write, own_components: None) -> list[Run]:
    named = ["late", "concat", "early", "sum"]
    return sweep.plan([task()], named, [0], None, Settings(), ["width=16"])


SECONDS = {"late": 10.0, "concat": 100.0, "early": 30.0, "sum": 20.0}


def test_no_run_begins_that_is_not_expected_to_end_in_time(runs: list[Run]) -> None:
    clock = Clock(SECONDS)
    made = list(sweep.sweep(runs, clock, Known(SECONDS), seconds=65.0, clock=lambda: clock.now))
    assert clock.begun == ["late", "early", "sum"], "what does not fit lets others by"
    assert [outcome.run.model.name for outcome in made] == clock.begun
    assert clock.ended == "closed"


def test_what_nobody_knows_begins_if_a_guess_says_that_it_ends_in_time(
    runs: list[Run], task: Write
) -> None:
    clock = Clock(SECONDS)
    known = Forecast([])
    assert 0.8 <= known.guess(runs[0]) < 1.5, "6 steps of a small model"
    list(sweep.sweep(runs, clock, known, seconds=105.0, clock=lambda: clock.now))
    assert clock.begun == ["late", "concat"]
    endless = sweep.plan(
        [task("endless", ("steps = 6", "steps = 1000000"))], ["sum"], [0], None, Settings()
    )
    assert known.guess(endless[0]) > 9999
    clock = Clock(SECONDS)
    list(sweep.sweep([*endless, *runs], clock, known, seconds=105.0, clock=lambda: clock.now))
    assert clock.begun == ["late", "concat"]


def test_a_guess_knows_what_computes_much_with_few_parameters() -> None:
    """All have about as many parameters; measured, they took 3, 13 and 211 s for 24 steps."""
    runs = sweep.plan(["intent"], ["mvae", "early", "gatv2"], [0], "smoke", Settings())
    sums, early, pairs = (Forecast([]).guess(run) for run in runs)
    assert 2 * sums < early < pairs / 2
    texts = sweep.plan(["captioning"], ["concat", "late"], [0], "smoke", Settings())
    one, each = (Forecast([]).guess(run) for run in texts)
    assert each > 1.3 * one, "late says a text for each modality"


def test_a_guess_is_told_as_one(cli: Cli, task: Write) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    plan = cli(*arguments, "--seeds", "2", "--dry-run").out.splitlines()
    assert plan[0] == "plan: 2 of 2 runs to do, about 2 s at a guess, cpu"
    assert [line for line in plan if line.endswith("seed 0: to do, about 1 s at a guess")]
    (first, _) = json.loads(cli(*arguments, "--seeds", "2", "--dry-run", "--json").out)
    assert first["seconds"] is None
    assert 0.8 <= first["guess"] < 1.5
    long = ("run", "-t", task("long", ("steps = 6", "steps = 100000")), "-m", "late", *SMALL)
    left = cli(*long, "--max-hours", "0.01")
    assert left.code == 130
    assert "the shortest takes about " in left.err
    assert " min at a guess; give more hours" in left.err
    cli(*arguments, "-q")
    plan = cli(*arguments, "--seeds", "2", "--dry-run").out.splitlines()
    assert plan[0].startswith("plan: 1 of 2 runs to do, about ")
    assert "guess" not in "".join(plan)
    assert json.loads(cli(*arguments, "--dry-run", "--json").out)[0]["guess"] is None


def test_the_longest_begins_first_where_several_run_at_a_time(runs: list[Run]) -> None:
    jobs = sweep.jobs(runs)
    names = [
        [job.runs[0].model.name for job in sweep.ordered(jobs, Known(SECONDS), slots)]
        for slots in (1, 2)
    ]
    assert names == [["late", "concat", "early", "sum"], ["concat", "early", "sum", "late"]]


def test_what_has_not_been_run_is_ordered_by_its_size(task: Write, own_components: None) -> None:
    path = task()
    wide = sweep.plan([path], ["late"], [0], None, Settings(), ["width=48"])
    narrow = sweep.plan([path], ["late"], [1], None, Settings(), ["width=16"])
    long = sweep.plan([task("long", ("steps = 6", "steps = 60"))], ["late"], [0], None, Settings())
    known = Forecast([*narrow, *wide, *long])
    assert known.cost(narrow[0]) < known.cost(wide[0]) < known.cost(long[0])
    assert known.seconds(wide[0]) is None


def test_the_time_left_counts_what_runs_and_what_waits(runs: list[Run]) -> None:
    left = Remaining(dict(enumerate(runs)), Known(SECONDS), 2)
    assert left.seconds(set(), {}) == 100.0  # 10 + 30 + 20 beside 100
    assert left.seconds({0}, {1: (95.0, None)}) == 30.0  # 5, then 20, beside 30
    assert left.seconds({0}, {1: (120.0, 15.0)}) == 35.0  # 15, then 20: longer than expected
    assert left.seconds({0, 1, 2, 3}, {}) == 0.0
    assert Remaining(dict(enumerate(runs)), Known({}), 2).seconds(set(), {}) is None


def of_a_large_sweep(runs: list[Run], count: int) -> tuple[list[Run], Forecast]:
    """Return so many runs, and a forecast that has learned from as many."""
    many = [replace(runs[n % len(runs)], seed=n) for n in range(count)]
    known = Forecast(many[:1])
    record = SimpleNamespace(
        task="mini", budget="brief", model="late", provenance={"device": "cpu"}, cost=COST
    )
    for run in many:
        known.learn(run, cast("store.Record", record))
    return many, known


COST = {"parameters": 1000.0, "train_seconds": 3.0, "test_seconds": 1.0}


def test_the_time_left_of_a_large_sweep_takes_none(runs: list[Run]) -> None:
    many, known = of_a_large_sweep(runs, 2000)
    assert known.seconds(many[0]) == pytest.approx(4.0)
    left = Remaining(dict(enumerate(many)), known, 2)
    assert left.seconds({0}, {1: (1.0, None)}) == pytest.approx(4.0 * 1999 / 2, abs=4.0)
    asked = []
    seconds = known.seconds
    known.seconds = lambda run: (asked.append(run), seconds(run))[1]  # type: ignore[method-assign]
    for elapsed in (2.0, 3.0):  # nothing has ended since: each drawing knows what it has to know
        assert left.seconds({0}, {1: (elapsed, None)}) is not None
    assert not asked
    begun = time.process_time()
    for ended in range(1, 21):
        left.seconds(set(range(ended)), {ended: (1.0, None)})
    assert asked
    assert time.process_time() - begun < 2.0, "looking at every record for every run took a minute"


def test_what_was_learned_meanwhile_changes_the_time_left(runs: list[Run]) -> None:
    _, known = of_a_large_sweep(runs, 1)
    left = Remaining(dict(enumerate(runs[:2])), known, 1)
    assert left.seconds(set(), {}) == pytest.approx(8.0)
    record = SimpleNamespace(
        task="mini",
        budget="brief",
        model="concat",
        provenance={"device": "cpu"},
        cost={**COST, "train_seconds": 9.0},
    )
    known.learn(runs[1], cast("store.Record", record))
    assert left.seconds(set(), {}) == pytest.approx(4.0 + 10.0)


def test_max_hours_says_what_is_left_and_the_same_command_goes_on(cli: Cli, task: Write) -> None:
    beginning = ("run", "-t", task(), "-m", "late", *SMALL)
    arguments = (*beginning, "--seeds", "3")
    done = cli(*arguments, "--max-hours", "1e-10")
    assert done.code == 130
    assert done.err.splitlines()[-1] == (
        "interrupted: 3 runs are left (mini/late seed 0, mini/late seed 1, mini/late seed 2), "
        "which --max-hours 1e-10 is too little for: the shortest takes about 1 s at a guess; give "
        "more hours"
    )
    dry = cli(*arguments, "--max-hours", "1e-10", "--dry-run")
    assert dry.out.count("; not within --max-hours") == 3
    assert "within --max-hours 1e-10, 0 of 3 runs are expected to end" in dry.out
    planned = json.loads(cli(*arguments, "--max-hours", "1", "--dry-run", "--json").out)
    assert [run["in_time"] for run in planned] == [True] * 3
    told = cli(*arguments, "--max-hours", "1e-10", "--json")
    assert [run["status"] for run in json.loads(told.out)] == ["left"] * 3
    assert cli(*beginning).code == 0
    known = cli(*arguments, "--max-hours", "1e-10")
    assert known.code == 130
    assert "2 runs are left (" in known.err
    assert "the shortest takes about " in known.err
    assert cli(*arguments, "--max-hours", "1").code == 0
    assert seeds() == [0, 1, 2]


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf"])
def test_no_time_at_all_is_refused(cli: Cli, task: Write, given: str) -> None:
    done = cli("run", "-t", task(), "-m", "late", "--max-hours", given)
    assert done.code == 2
    assert "--max-hours" in done.error


def test_a_dry_run_tells_the_order_and_the_minutes_of_all_with_these_jobs(
    cli: Cli, task: Write
) -> None:
    path = task()
    cli("run", "-t", path, "-m", "late,concat", *SMALL, "-q")
    for stored, seconds in zip(store.scan(Path("results"))[0], (600.0, 60.0), strict=True):
        cost = {**stored.record.cost, "train_seconds": seconds, "test_seconds": 0.0}
        changed = msgspec.structs.replace(stored.record, cost=cost)
        store.rewrite(stored, changed, store_items(stored))
    arguments = ("run", "-t", path, "-m", "late,concat", "--seeds", "3", *SMALL, "--dry-run")
    one = cli(*arguments).out.splitlines()
    assert one[0] == "plan: 4 of 6 runs to do, about 22 min, cpu"
    assert [line.split(":")[0].strip() for line in one[2:-1]] == [
        *(f"mini/{model} brief seed 0" for model in ("late", "concat")),
        *(f"mini/late brief seed {seed}" for seed in (1, 2)),
        *(f"mini/concat brief seed {seed}" for seed in (1, 2)),
    ]
    two = cli(*arguments, "--jobs", "2").out.splitlines()
    assert two[0] == "plan: 4 of 6 runs to do, about 11 min, cpu, 2 at a time"
    assert [line.split(":")[0].strip() for line in two[4:-1]] == [
        *(f"mini/concat brief seed {seed}" for seed in (1, 2)),
        *(f"mini/late brief seed {seed}" for seed in (1, 2)),
    ]
    assert two[4].endswith("to do, about 10 min")
    planned = json.loads(cli(*arguments, "--jobs", "2", "--json").out)
    assert [run["begins"] for run in planned] == [None, 3, 4, None, 1, 2]
    assert [run["seconds"] for run in planned] == [60.0] * 3 + [600.0] * 3


def store_items(stored: store.Stored) -> Any:
    import pyarrow.parquet as parquet

    return parquet.read_table(stored.folder / "items.parquet")


# --- several processes ---------------------------------------------------------------------------


@pytest.fixture
def claimed(runs: list[Run]) -> Iterator[Run]:
    """A run that another process is making."""
    with another(runs[0]):
        yield runs[0]


class another:  # noqa: N801
    """Another process that claims a run, and dies with the block."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __enter__(self) -> subprocess.Popen[str]:
        code = (
            "import sys, time; from pathlib import Path; from mmbench import claims\n"
            "with claims.claim(Path(sys.argv[1]), Path(sys.argv[2])) as mine:\n"
            "    print(mine, flush=True); time.sleep(600)"
        )
        arguments = [str(self.run.settings.results), str(self.run.folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "True\n"
        return self.process

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


class Silent:
    """Watches and says nothing."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None: ...
    def phase(self, name: str) -> None: ...
    def items(self, done: int, total: int) -> None: ...
    def note(self, text: str) -> None: ...


def test_a_claim_is_one_processes_and_ends_with_it(runs: list[Run]) -> None:
    run = runs[0]
    with another(run):
        with claims.claim(run.settings.results, run.folder) as mine:
            assert not mine
        assert claims.path_of(run.folder).exists(), "who does not have it does not take it away"
        with claims.claim(run.settings.results, runs[1].folder) as mine:
            assert mine
    with claims.claim(run.settings.results, run.folder) as mine:
        assert mine, "it died"
    assert leftovers() == []


def test_a_run_that_another_process_makes_is_left_for_the_end_and_taken_over_if_that_dies(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0.05)
    told = []
    with another(runs[0]) as process:
        for outcome in sweep.sweep(runs[:3], Serial(lambda run: Silent())):
            told.append((outcome.run.model.name, outcome.busy, outcome.fresh))
            if len(told) == 3:
                process.kill()
    assert told == [
        ("late", True, True),
        ("concat", False, True),
        ("early", False, True),
        ("late", False, True),
    ]
    assert leftovers() == []


def batched(run: Run) -> Run:
    return replace(run, settings=replace(run.settings, batch_seeds=True))


def test_a_seed_of_a_batch_is_not_made_while_another_process_trains_it_alone(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = batched(runs[0])
    assert run.folder != run.alone.folder
    begun = []
    monkeypatch.setattr(work, "made_together", lambda several, watcher: begun.append(several))
    with another(run.alone):
        (outcome,) = work.carry_out(Job((run,)), lambda run: Silent())
        assert outcome.busy
        assert not begun
        with claims.claim(run.settings.results, run.folder) as mine:
            assert mine, "what cannot be claimed whole is not claimed in part"


def test_a_seed_that_a_batch_trains_alone_after_all_is_nobody_elses_meanwhile(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = batched(runs[0])
    together = work.made_together
    seen = []

    def look(several: Any, watcher: Any) -> Any:
        seen.extend(work.carry_out(Job((run.alone,)), lambda run: Silent()))
        return together(several, watcher)

    monkeypatch.setattr(work, "made_together", look)
    monkeypatch.setattr("mmbench.together.flow.batchable", lambda run: "they do not go together")
    (outcome,) = work.carry_out(Job((run,)), lambda run: Silent())
    assert [one.busy for one in seen] == [True]
    assert outcome.stored is not None
    assert outcome.stored.folder == run.alone.folder
    assert leftovers() == []


def test_a_record_leaves_no_checkpoint_however_its_seed_was_trained(runs: list[Run]) -> None:
    run = batched(runs[0])
    for folder in (run.checkpoints, run.alone.checkpoints):
        (folder / "current").mkdir(parents=True)
    (outcome,) = work.carry_out(Job((run,)), lambda run: Silent())
    assert outcome.stored is not None
    assert outcome.stored.folder == run.folder
    assert leftovers() == []


@pytest.mark.parametrize("force", [False, True])
def test_what_another_process_has_made_meanwhile_is_taken_as_it_is(
    cli: Cli, task: Write, runs: list[Run], monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    waiting = threading.Event()

    def pause(seconds: float) -> None:
        waiting.set()
        time.sleep(0.05)

    monkeypatch.setattr(sweep, "time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments, "--results", "other", "-q")
    (other,) = store.scan(Path("other"))[0]
    if force:
        cli(*arguments, "-q")
    execute, begun = work.execute, []
    monkeypatch.setattr(work, "execute", lambda run, w: (begun.append(run), execute(run, w))[1])
    with another(runs[0]) as process:

        def finish() -> None:
            waiting.wait(60)
            store.adopt(Path("results"), other)
            process.kill()

        thread = threading.Thread(target=finish)
        thread.start()
        done = cli(*arguments, *(["--force"] if force else []))
        thread.join()
    assert done.code == 0
    assert not begun
    lines = done.err.splitlines()
    assert lines[0] == "mini/late seed 0: another process is making it: left for the end"
    assert lines[1].startswith("mini/late seed 0: finished before (by another process), rouge_l ")
    assert len(lines) == 2


def test_max_hours_ends_the_waiting_for_another_process(
    claimed: Run, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0.01)
    times = iter([0.0, *[1.0] * 3, *[99.0] * 99])
    made = sweep.sweep(
        [claimed], Serial(lambda run: Silent()), Known({}), seconds=50.0, clock=lambda: next(times)
    )
    assert [outcome.busy for outcome in made] == [True]


def test_four_processes_on_one_results_folder_make_every_run_once(cli: Cli, task: Write) -> None:
    path = task()
    arguments = ["run", "-t", path, "-m", "late,concat", "--seeds", "3", *SMALL, "--json", "-q"]
    cli(*arguments, "--results", "alone")
    jobs = [["--jobs", "2"], [], [], []]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "mmbench", *arguments, *more],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for more in jobs
    ]
    told = []
    for process in processes:
        out, err = process.communicate(timeout=400)
        assert (process.returncode, err) == (0, "")
        told.append(json.loads(out))
    assert all(len(runs) == 6 for runs in told)
    fresh = [run["identity"] for runs in told for run in runs if run["fresh"]]
    assert len(fresh) == len(set(fresh)) == 6, "every run was made once"
    found, problems = store.scan(Path("results"))
    assert (len(found), problems) == (6, [])
    assert leftovers() == []
    assert cli("verify").code == 0
    alone = {s.record.name: s.record.files for s in store.scan(Path("alone"))[0]}
    assert {s.record.name: s.record.files for s in found} == alone


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")]
)
def test_a_file_system_without_locks_is_one_line(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    done = cli("run", "-t", task(), "-m", "constant", *SMALL)
    assert done.code == 1
    assert "results: its file system knows no locks" in done.error


def test_a_lock_that_would_outlive_its_process_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def soften(self: Any, *arguments: object, **options: object) -> None:
        self.__class__ = filelock.SoftFileLock  # as filelock does where there is no flock

    monkeypatch.setattr(filelock.FileLock, "acquire", soften)
    with (
        pytest.raises(PlaceError, match="knows no locks"),
        claims.claim(tmp_path, tmp_path / "task" / "model" / "run"),
    ):
        pytest.fail("nothing was claimed")


def test_workers_prepare_data_once(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "empty"
    monkeypatch.setenv("MMBENCH_CACHE", str(cache))
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "2", *SMALL, "--jobs", "2")
    done = cli(*arguments)
    assert done.code == 0
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    waited = [line for line in done.err.splitlines() if "waiting for another process" in line]
    assert all(line.startswith("[") for line in waited), "if it came to that, each says so"
