"""The peak of host memory is that of a run, by whatever way the system offers."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmbench.cost.memory import HostPeak
from mmbench.cost.ticker import Ticker

MB = 10**6
TWO_RUNS = """
import numpy as np
from pathlib import Path
from mmbench.cost import memory
if {sampled}:
    memory.PROC = Path("/nowhere")
import time

def run(megabytes):
    peak = memory.HostPeak(memory.PROC)
    held = np.ones(megabytes * 125_000)
    time.sleep(0.1 if {sampled} else 0.0)
    del held
    print(peak.stop(), peak.how)

run(1)
run(200)
run(1)
"""


@pytest.mark.parametrize("sampled", [False, True])
def test_a_run_does_not_have_the_memory_of_the_one_before(sampled: bool) -> None:
    if not sampled and not Path("/proc/self/clear_refs").exists():
        pytest.skip("no high-water mark that can be set back: Linux has one")
    if sampled:
        pytest.importorskip("psutil")
    text = TWO_RUNS.format(sampled=sampled)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=300
    )
    lines = done.stdout.splitlines()
    before, large, after = (int(line.partition(" ")[0]) for line in lines)
    way = "looked at every 20 ms" if sampled else "set back when the run began"
    assert all(line.endswith(way) for line in lines)
    assert large - before == pytest.approx(200 * MB, abs=40 * MB)
    assert large - after == pytest.approx(200 * MB, abs=40 * MB)


def proc(folder: Path, peak: int, resident: int) -> Path:
    folder.mkdir(exist_ok=True)
    text = f"Name:\tpython\nVmHWM:\t{peak // 1024:8d} kB\nVmRSS:\t{resident // 1024:8d} kB\n"
    (folder / "status").write_text(text)
    (folder / "clear_refs").write_text("")
    return folder


def test_the_mark_is_set_back_and_read(tmp_path: Path) -> None:
    fake = proc(tmp_path / "proc", 100 * 2**20, 90 * 2**20)
    peak = HostPeak(fake)
    assert (fake / "clear_refs").read_text() == "5"
    proc(fake, 700 * 2**20, 95 * 2**20)
    assert peak.stop() == 700 * 2**20


def test_a_mark_that_was_not_set_back_is_not_believed(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    fake = proc(tmp_path / "proc", 900 * 2**20, 90 * 2**20)  # as some containers do: all is taken
    peak = HostPeak(fake)
    assert "looked at" in peak.how
    held = np.ones(2 * MB)
    time.sleep(0.1)
    found = peak.stop()
    assert found is not None
    assert found > held.nbytes
    assert found != 900 * 2**20, "this process', not the file's"


def test_without_psutil_it_is_the_whole_process_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    peak = HostPeak(tmp_path)
    assert (peak.stop() or 0) > 10 * MB
    assert "whole process" in peak.how
    monkeypatch.setitem(sys.modules, "resource", None)
    peak = HostPeak(tmp_path)
    assert peak.stop() is None
    assert peak.how.startswith("unknown")


def test_what_a_failed_run_leaves_behind_looks_no_more() -> None:
    class Looked:
        def __init__(self) -> None:
            self.times = 0
            self.ticker = Ticker(0.01, self.look)

        def look(self) -> None:
            self.times += 1

    looked = Looked()
    thread = looked.ticker._thread
    while looked.times < 2:
        time.sleep(0.005)
    assert thread.is_alive()
    del looked  # nobody stopped it
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
