"""Looks at the machine: torch and the GPU, cores, threads, memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from mmbench.doctor.check import GIB, Check, Found
from mmbench.doctor.installation import version
from mmbench.room import available_memory, cgroup

#: Free memory below which a run on the shipped tasks may not get through.
MEMORY = 2 * GIB
#: The oldest torch that mmbench runs on.
TORCH = (2, 6)


def torch_package() -> Found:
    """Import torch, if it is there."""
    install = "pip install --upgrade 'mmbench[train]'"
    try:
        torch = _import_torch()
    except Exception as error:
        what = " ".join(str(error).split())
        yield Check("torch", "fail", f"cannot be imported: {type(error).__name__}: {what}", install)
        return
    if torch is None:
        yield Check("torch", "warn", "not installed: scoring works, training does not", install)
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    told = f"{torch.__version__}, {build}"
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < TORCH:
        yield Check("torch", "fail", f"{told}: expected {TORCH[0]}.{TORCH[1]} or newer", install)
    else:
        yield Check("torch", "ok", told)


def _import_torch() -> Any:
    """Return torch, or None where it is not installed. What else goes wrong is raised."""
    if version("torch") is None:
        return None
    import torch

    return torch


def gpu() -> Found:
    """Look for a GPU that torch can use."""
    try:
        torch = _import_torch()
    except Exception:
        torch = None  # `torch_package` says why
    if torch is None:
        yield Check("gpu", "ok", "not looked for: there is no torch to use it")
    elif torch.cuda.is_available():
        yield _cuda(torch)
    elif _has_nvidia_driver():
        fix = "install a CUDA build of torch: https://pytorch.org/get-started"
        yield Check("gpu", "warn", "there is an NVIDIA driver, but torch sees no GPU", fix)
    else:
        yield Check("gpu", "ok", "none: runs take the CPU")


def _cuda(torch: Any) -> Check:
    size = torch.cuda.get_device_properties(0).total_memory / GIB
    told = f"{torch.cuda.get_device_name(0)}, {size:.0f} GiB"
    # From compute capability 8.0 on in hardware; torch emulates it on older ones, slowly.
    if torch.cuda.get_device_capability(0) >= (8, 0):
        return Check("gpu", "ok", f"{told}, bf16")
    return Check("gpu", "warn", f"{told}, bf16 only emulated", "--device cpu may be faster")


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def cores() -> Found:
    """Count the cores that this process may use."""
    from mmbench.provenance import cpu

    there, usable = os.cpu_count() or 1, usable_cores()
    told = f"{usable:g} of {there} usable, {cpu()}"
    if usable < 1:
        fix = "give the container at least one core"
        yield Check("cores", "warn", f"{told}: less than one core", fix)
    else:
        yield Check("cores", "ok", told)


def usable_cores() -> float:
    """Return how many cores this process may use: its affinity, and a container's quota."""
    there = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        there = float(len(os.sched_getaffinity(0)))
    quota, _, period = cgroup("cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():  # without a limit it says "max"
        there = min(there, int(quota) / int(period))
    return there


def threads() -> Found:
    """Hold the threads of a run against the cores."""
    given = os.environ.get("MMBENCH_THREADS")
    if not given:
        yield Check("threads", "ok", "as many as each task asks for (--threads)")
        return
    if not given.isdecimal() or int(given) < 1:
        told = f"MMBENCH_THREADS={given}: expected a whole number of at least 1"
        yield Check("threads", "fail", told, "unset it, or set it right")
    elif int(given) > max(usable_cores(), 1.0):
        told = f"{given} for a run, which would wait for each other on {usable_cores():g} cores"
        fix = "unset MMBENCH_THREADS: one is fastest on small models"
        yield Check("threads", "warn", told, fix)
    else:
        yield Check("threads", "ok", f"{given} for a run (--threads)")


def memory() -> Found:
    """Look for memory that is free."""
    free = available_memory()
    if free is None:
        yield Check("memory", "ok", "unknown: nothing here says how much is free")
        return
    told = f"{free / GIB:.1f} GiB free"
    if free < MEMORY:
        fix = "close other programs, or give the container more"
        yield Check("memory", "warn", f"{told}, a run may take {MEMORY / GIB:.0f}", fix)
    else:
        yield Check("memory", "ok", told)
