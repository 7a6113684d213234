"""Several processes that train one model: each has its part of every batch.

The batch, the order of items and so what is learned do not depend on how many there are: losses
are means over the whole batch (`mmbench.models.whole`), gradients are averaged by torch's
`DistributedDataParallel` (Li et al. 2020, arXiv:2006.15704), and each test item is predicted by one
process. Only sums are taken in another order, so that the last digits differ. What a model draws
for each item of a batch (latent variables) is drawn alike by all; dropout is drawn apart.

One process leads: it decides what is run, watches, and writes. The others follow. They are started
by ``--devices N``, or all at once by ``torchrun``.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from mmbench.errors import DeviceError, MmbenchError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmbench.models.model import Model
    from mmbench.models.whole import Part
    from mmbench.types import Batch

T = TypeVar("T")
Loss = Callable[["Batch"], "Tensor"]


class Group:
    """The processes that share each batch: here, this one alone.

    Attributes:
        rank: Number of this process; 0 leads.
        count: How many there are.
    """

    rank = 0
    count = 1

    @property
    def leads(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def lead(self, run: Any) -> None:
        """Tell the others which run is made next."""

    def follow(self) -> Any:
        """Return the run that the leading process makes next; None when it is done."""
        return None

    def failed(self, why: str) -> None:
        """Tell the leading process why this one ends."""

    def check_batch(self, size: int) -> None:
        """Refuse a batch that has fewer items than there are processes."""

    def part(self, size: int) -> Part | None:
        """Return this process's part of a batch of so many items; None: all of it."""
        return None

    def shared(self, model: Model, losses: list[Loss]) -> list[Loss]:
        """Return losses whose gradients are those of the whole batch."""
        return losses

    def mean(self, x: Tensor) -> float:
        """Return the mean of a number over the processes."""
        return float(x)

    def mean_of(self, found: dict[str, float]) -> dict[str, float]:
        """Return the geometric means of positive numbers over the processes."""
        return found

    def agreed(self, decision: bool) -> bool:
        """Return what the leading process decides."""
        return decision

    def told(self, value: T) -> T:
        """Return what the leading process has."""
        return value

    def gathered(self, values: Sequence[T]) -> list[T]:
        """Return the processes' values in turn: the first of each, the second of each, ..."""
        return list(values)

    def seed(self, seed: int, device: torch.device) -> None:
        """Begin the stream from which all processes draw alike."""

    def random_states(self, device: torch.device) -> dict[str, Tensor]:
        """Return where torch's random streams stand, those of all processes."""
        import torch

        found = {"random.cpu.0": torch.get_rng_state()}
        if device.type == "cuda":
            found["random.cuda.0"] = torch.cuda.get_rng_state(device)
        return found

    def restore_random(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Let the random streams stand where `random_states` found them."""
        import torch

        torch.set_rng_state(tensors[f"random.cpu.{self.rank}"].cpu())
        if device.type == "cuda":
            torch.cuda.set_rng_state(tensors[f"random.cuda.{self.rank}"].cpu(), device)


ALONE = Group()


class Several(Group):
    """Processes of torch's process group, which exists."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._stream: torch.Generator | None = None
        # What is told is no work of a GPU; and one may have to wait long for the next run.
        self._talk = dist.new_group(backend="gloo", timeout=timedelta(days=7))

    def lead(self, run: Any) -> None:
        """See `Group.lead`."""
        self.told(run)

    def follow(self) -> Any:
        """See `Group.follow`."""
        return self.told(None)

    def failed(self, why: str) -> None:
        """See `Group.failed`."""
        _store().set(FAILED, f"device {self.rank}: {why}")

    def check_batch(self, size: int) -> None:
        """See `Group.check_batch`.

        Raises:
            UsageError: It has.
        """
        if size < self.count:
            raise UsageError(
                f"--devices {self.count}: a batch has {size} items, fewer than devices: expected "
                f"at most {size}, or a larger recipe.batch_size"
            )

    def part(self, size: int) -> Part:
        """See `Group.part`; the parts differ by one item at most."""
        from mmbench.models.shard import Shard

        return Shard(self.rank, self.count, size, self._stream)

    def shared(self, model: Model, losses: list[Loss]) -> list[Loss]:
        """See `Group.shared`: averaged by `DistributedDataParallel`."""
        from mmbench.models.shard import distributed

        return distributed(model, losses)

    def mean(self, x: Tensor) -> float:
        """See `Group.mean`."""
        import torch.distributed as dist

        total = x.detach().clone()
        dist.all_reduce(total)
        return float(total) / self.count

    def mean_of(self, found: dict[str, float]) -> dict[str, float]:
        """See `Group.mean_of`."""
        logs = self._everyone({name: math.log(x) for name, x in found.items()})
        return {n: math.exp(math.fsum(one[n] for one in logs) / self.count) for n in found}

    def agreed(self, decision: bool) -> bool:
        """See `Group.agreed`."""
        return self.told(decision)

    def told(self, value: T) -> T:
        """See `Group.told`."""
        import torch.distributed as dist

        held = [value]
        dist.broadcast_object_list(held, src=0, group=self._talk)
        return held[0]

    def gathered(self, values: Sequence[T]) -> list[T]:
        """See `Group.gathered`."""
        everyone = self._everyone(list(values))
        most = max(len(own) for own in everyone)
        return [own[k] for k in range(most) for own in everyone if k < len(own)]

    def seed(self, seed: int, device: torch.device) -> None:
        """See `Group.seed`."""
        import torch

        self._stream = torch.Generator(device).manual_seed(seed)

    def random_states(self, device: torch.device) -> dict[str, Tensor]:
        """See `Group.random_states`."""
        import torch

        own = super().random_states(device)
        everyone = self._everyone([x.cpu().numpy().tobytes() for x in own.values()])
        found: dict[str, Tensor] = {}
        for rank, states in enumerate(everyone):
            for name, state in zip(own, states, strict=True):
                held = torch.frombuffer(bytearray(state), dtype=torch.uint8)
                found[f"{name.rpartition('.')[0]}.{rank}"] = held
        assert self._stream is not None
        return found | {"random.shared": self._stream.get_state()}

    def restore_random(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """See `Group.restore_random`."""
        super().restore_random(tensors, device)
        assert self._stream is not None
        self._stream.set_state(tensors["random.shared"].cpu())

    def _everyone(self, value: T) -> list[T]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=self._talk)
        return found


#: The processes that share the runs of this one.
_group: Group = ALONE


def group() -> Group:
    """Return the processes that share the runs of this one."""
    return _group


@contextmanager
def alone() -> Iterator[None]:
    """Let this process do something that the others do not."""
    global _group
    before, _group = _group, ALONE
    try:
        yield
    finally:
        _group = before


def launched() -> int:
    """Return how many processes this one was started with, by ``torchrun`` or by `together`."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def follows() -> bool:
    """Whether another process leads this one."""
    return launched() > 1 and os.environ["RANK"] != "0"


def hush(count: int) -> None:
    """Keep torch's own remarks to programmers from the user; to be called before it is imported."""
    if count > 1 or launched() > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def check(count: int, device: str, asked: str) -> None:
    """Refuse what cannot be shared so.

    Args:
        count: Processes.
        device: ``cpu`` or ``cuda``, resolved.
        asked: What was asked for: that, or ``auto``.

    Raises:
        UsageError: There are not as many GPUs, or torch was built without what is needed.
    """
    import torch
    import torch.distributed as dist

    if count == 1:
        return
    if not dist.is_available():
        raise UsageError(f"--devices {count}: this torch has no torch.distributed: use one device")
    if device == "cuda":
        here = torch.cuda.device_count()
        # With torchrun over several machines, each has its own.
        wanted = int(os.environ.get("LOCAL_WORLD_SIZE", count))
        if here < wanted:
            raise UsageError(
                f"--devices {count}: torch sees {here} GPU{'s' * (here != 1)} here: use "
                f"--devices {here}, or --device cpu to share the work among processes of the CPU"
            )
    elif asked != "cpu":
        several = f"{count} processes of torchrun" if launched() > 1 else f"--devices {count}"
        raise UsageError(
            f"{several}: torch sees no GPU here: --device cpu shares the work among processes of "
            f"the CPU"
        )


@contextmanager
def together(count: int, device: str, command: Sequence[str]) -> Iterator[Group]:
    """Share this process's runs with others.

    Args:
        count: Processes in all; 1: this one alone.
        device: ``cpu`` or ``cuda``.
        command: What starts another process that arrives here, too.

    Yields:
        The group; its first process leads, and the others have to `mmbench.run.follow`.

    Raises:
        DeviceError: The processes do not find each other, or one of them ended.
    """
    global _group
    if count == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    others = [] if launched() > 1 else _start(count, command)
    over = threading.Event()
    looks = threading.Thread(target=_look_after, args=(count, others, over), daemon=True)
    looks.start()
    try:
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl" if device == "cuda" and dist.is_nccl_available() else "gloo"
        with _explained(count):
            dist.init_process_group(backend, timeout=timedelta(minutes=MINUTES))
        _group = Several()
        try:
            with _explained(count):
                yield _group
                if _group.leads:
                    _group.lead(None)
                    over.set()
                    for one in others:  # nothing is to be waited for but their own goodbye
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            one.wait(timeout=60)
        finally:
            _group = ALONE
            over.set()
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()
    finally:
        over.set()
        for one in others:
            one.kill()
            one.wait()
        if others:
            for name in PLACES:
                os.environ.pop(name, None)


#: Seconds in which a process that lost another one may say so itself.
GRACE = 10.0
#: Under which name a process tells why it ends.
FAILED = "mmbench failed"


def _store() -> Any:
    """Return what the processes of the group found each other by."""
    import torch.distributed as dist

    return dist.distributed_c10d._get_default_store()


def _look_after(
    count: int, others: Sequence[subprocess.Popen[bytes]], over: threading.Event
) -> None:
    """End this process if one that it cannot do without has ended: what waits waits for ever."""
    parent = os.getppid()

    def gone() -> bool:
        if any(one.poll() is not None for one in others):
            return True
        # Started by `_start`, and nobody's child any more.
        return not others and "MMBENCH_FOLLOWS" in os.environ and os.getppid() != parent

    while not over.wait(0.5):
        if gone():
            if not over.wait(GRACE):
                sys.stderr.write(f"error: {_gone(count, '')}\n")
                sys.stderr.flush()
                os._exit(DeviceError.exit_code)
            return


#: How processes of `torch.distributed` find each other.
PLACES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")
#: After so long without a word, a process is taken to be gone.
MINUTES = 30


def _start(count: int, command: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """Start the other processes on this machine, and make this one the first."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    others = [
        subprocess.Popen(
            command,
            env=os.environ
            | shared
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "MMBENCH_FOLLOWS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(1, count)
    ]
    os.environ.update(shared | {"RANK": "0", "LOCAL_RANK": "0"})
    return others


@contextmanager
def explained() -> Iterator[None]:
    """Turn what torch says when a process of the group is gone into one line.

    Raises:
        DeviceError: That.
    """
    if _group.count == 1:
        yield
        return
    try:
        with _explained(_group.count):
            yield
    except DeviceError:
        raise
    except Exception as error:
        # The others do not know of it, and whatever came next would wait for them.
        line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        kind = "" if isinstance(error, MmbenchError) else f"{type(error).__name__}: "
        lost = DeviceError(f"--devices {_group.count}: {kind}{line}")
        lost.exit_code = getattr(error, "exit_code", DeviceError.exit_code)
        raise lost from error


@contextmanager
def _explained(count: int) -> Iterator[None]:
    import torch.distributed as dist

    try:
        yield
    except (dist.DistError, subprocess.TimeoutExpired) as error:
        raise _gone(count, str(error)) from None
    except RuntimeError as error:
        if not any(word in str(error) for word in GONE):
            raise
        raise _gone(count, str(error)) from None


#: What torch says where a process is gone.
GONE = ("Connection closed by peer", "Connection reset", "Broken pipe", "timed out", "Timed out")


def _gone(count: int, said: str) -> DeviceError:
    """Say what is known of why a process is gone: what it told itself, else what torch says."""
    told = ""
    with contextlib.suppress(Exception):  # the store may be gone, too
        store = _store()
        if store.check([FAILED]):
            told = store.get(FAILED).decode()
    told = told or next(iter(said.strip().splitlines()), "")[:200] or "nothing more is known"
    return DeviceError(
        f"--devices {count}: a process ended or is not heard of ({told}): finished records are "
        f"intact; the same command goes on"
    )
