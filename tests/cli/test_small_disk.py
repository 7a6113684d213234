"""A results folder that is full, or may not be written: real file systems of some megabytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[2]
Write: TypeAlias = Callable[..., str]

#: What a test may do in a mount of its own, which ends with its process.
SCRIPT = """
set -u
mount -t tmpfs -o size={ size } none results || exit 99
mmbench() { "$PYTHON" -m mmbench "$@"; }
{ steps }
"""


def mounting() -> list[str] | None:
    """Return what a shell has to be started by to mount something that only it sees."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return None
    for prefix in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        try_it = [*prefix, "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
        if subprocess.run(try_it, capture_output=True, check=False).returncode == 0:
            return prefix
    return None


PREFIX = mounting()
needs_mount = pytest.mark.skipif(PREFIX is None, reason="nothing can be mounted here")


def shell(steps: str, size: str = "4m") -> list[str]:
    """Run steps in a shell whose folder ``results`` is a small file system; return its lines."""
    assert PREFIX is not None
    Path("results").mkdir(exist_ok=True)
    script = SCRIPT.replace("{ steps }", steps).replace("{ size }", size)
    done = subprocess.run(
        [*PREFIX, "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 99, done.stderr
    assert "Traceback" not in done.stderr
    return (done.stdout + done.stderr).splitlines()


@needs_mount
@pytest.mark.parametrize(
    ("left", "jobs"), [(0, 1), (100, 2)], ids=["no room", "room for a part of a record"]
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    task: Write, workplace: Path, left: int, jobs: int
) -> None:
    run = f"mmbench run -t {task()} -m late --set width=64 -q --jobs {jobs}"
    lines = shell(f"""
        {run} --seeds 1 >/dev/null; echo "first $?"
        free=$(df -k --output=avail results | tail -1)
        head -c $(( (free - {left}) * 1024 )) /dev/zero > results/filler
        {run} --seeds 3 2>&1; echo "full $?"
        find results -name '.writing-*' -o -name '.*.claim' | sed 's/^/left behind: /'
        rm results/filler
        mmbench verify >/dev/null 2>&1; echo "intact $?"
        {run} --seeds 3 --json | grep '"fresh"' ; echo "again $?"
        find results -name '.?*' | sed 's/^/hidden: /'
    """)
    assert lines[0] == "first 0"
    errors = [line for line in lines if line.startswith("error:")]
    assert errors == [
        "error: results: the disk is full: make room and give the same command again; "
        "finished records are intact"
    ]
    assert "full 1" in lines
    assert "intact 0" in lines
    assert not [line for line in lines if line.startswith(("left behind", "hidden"))]
    fresh = [line.strip(" ,") for line in lines if '"fresh"' in line]
    assert fresh == ['"fresh": false', '"fresh": true', '"fresh": true']


@needs_mount
def test_a_disk_that_fills_at_a_checkpoint_loses_no_step_that_was_kept(
    task: Write, workplace: Path
) -> None:
    run = f"mmbench run -t {task()} -m late --set width=64 -q --checkpoint-every 0"
    # Its weights take a megabyte: there is room for a checkpoint, but not for a second one beside.
    lines = shell(
        f"""
        {run} --results whole >/dev/null; echo "whole $?"
        free=$(df -k --output=avail results | tail -1)
        head -c $(( (free - 6000) * 1024 )) /dev/zero > results/filler
        {run} 2>&1; echo "full $?"
        find results -name state.json | sed 's/^/kept: /'
        find results -name '.writing-*' -o -name '.*.claim' | sed 's/^/left behind: /'
        find results -name record.json | sed 's/^/recorded: /'
        rm results/filler
        {run} >/dev/null; echo "again $?"
        (cd results && find . -name '*.parquet' -o -name '*.safetensors') | while read name
        do cmp "results/$name" "whole/$name" && echo "same $(basename $name)"; done
        find results -name record.json | xargs grep -o '"resumed": *[0-9]*'
        find results -name '.?*' | sed 's/^/hidden: /'
        """,
        "32m",
    )
    assert lines[0] == "whole 0"
    errors = [line for line in lines if line.startswith("error:")]
    assert errors == [
        "error: results: the disk is full: make room and give the same command again; "
        "finished records are intact"
    ]
    assert "full 1" in lines
    assert [line for line in lines if line.startswith("kept: ") and "current/" in line]
    assert not [line for line in lines if line.startswith(("left behind", "recorded", "hidden"))]
    assert "again 0" in lines
    same = sorted(line for line in lines if line.startswith("same "))
    assert same == ["same items.parquet", "same predictions.parquet", "same weights.safetensors"]
    (resumed,) = [line for line in lines if line.startswith('"resumed"')]
    assert int(resumed.partition(":")[2]) >= 1


@needs_mount
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_read_only_folder_is_one_line_and_what_is_finished_is_still_told(
    task: Write, workplace: Path, jobs: int
) -> None:
    run = f"mmbench run -t {task()} -m late --set width=16 -q --jobs {jobs}"
    lines = shell(f"""
        {run} --seeds 1 >/dev/null; echo "first $?"
        mount -o remount,ro results
        {run} --seeds 3 2>&1; echo "refused $?"
        {run} --seeds 1 >/dev/null; echo "finished $?"
        mount -o remount,rw results
        {run} --seeds 3 >/dev/null; echo "again $?"
    """)
    told = [line for line in lines if line.startswith(("first", "ref", "fin", "again", "error"))]
    assert told == [
        "first 0",
        "error: results: cannot be written (Read-only file system): --results or MMBENCH_RESULTS "
        "names another folder",
        "refused 1",
        "finished 0",
        "again 0",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_permission_to_write_is_one_line(task: Write, workplace: Path) -> None:
    Path("results").mkdir(mode=0o555)
    command = [sys.executable, "-m", "mmbench", "run", "-t", task(), "-m", "constant"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: results: cannot be written (Permission denied)" in done.stderr


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_files_that_may_not_grow_are_one_line(task: Write, workplace: Path, jobs: str) -> None:
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))

    arguments = ["run", "-t", task(), "-m", "late", "--set", "width=64", "--seeds", "2", "-q"]
    command = [sys.executable, "-m", "mmbench", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    prepared = [*command, "--results", "elsewhere", "--seeds", "1"]
    assert subprocess.run(prepared, env=env, capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        [*command, "--jobs", jobs],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith("error: results: cannot be written (File too large)")
    assert not [path for path in Path("results").rglob(".*") if path.suffix != ".json"]
