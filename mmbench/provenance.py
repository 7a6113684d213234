"""Where a record came from: code, packages, machine. No names of people, hosts or folders."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mmbench

#: Packages whose version can change a score.
PACKAGES = ("numpy", "scipy", "torch", "safetensors", "pillow", "pyarrow", "transformers")


def collect(device: str, threads: int, plugins: dict[str, str]) -> dict[str, Any]:
    """Describe the present process.

    Args:
        device: What the run computes on, e.g. ``cpu`` or the name of a GPU.
        threads: Compute threads.
        plugins: Component -> digest, for components that are not mmbench's own.
    """
    return {
        "mmbench": mmbench.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": packages(),
        "platform": platform_name(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "device": device,
        "threads": threads,
        "plugins": plugins,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def code_digest() -> str:
    """Return the first 16 hex digits of the SHA-256 over mmbench's own Python files."""
    root = Path(mmbench.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def platform_name() -> str:
    """Return the kind of machine, such as ``Linux-x86_64``."""
    return f"{platform.system()}-{platform.machine()}"


def packages() -> dict[str, str]:
    """Return the installed versions of `PACKAGES`."""
    return dict(_packages())


@cache
def _packages() -> Mapping[str, str]:
    """Look once in a process: what is imported stays what it was."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit of mmbench's own checkout, ``+changed`` if it differs; else empty.

    The checkout that the package lies in, not the folder that the user happens to stand in.
    """
    root = Path(mmbench.__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "mmbench", "tasks", "baselines")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}+changed" if changed else head


def cpu() -> str:
    """Return the processor's name."""
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
