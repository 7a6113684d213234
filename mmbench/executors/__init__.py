"""Where runs are carried out: one after the other here, or in worker processes.

`Executor` is all that a sweep knows of it, so that a cluster can stand behind it as well: whatever
starts a process somewhere calls `mmbench.executors.work.carry_out` there, which claims, makes and
stores the runs of a job.
"""

from mmbench.executors.contract import Executor, Job, Outcome, Watch

__all__ = ["Executor", "Job", "Outcome", "Watch"]
