"""Records of predictions that were made elsewhere: what ``mmbench score --save`` keeps.

Such a record is like any other (`mmbench.store`), of the family ``external``, with two differences.
Nobody knows what the training cost, so it stands on a board of its own, under the budget
``external``, unless its maker says which of the task's budgets was kept to. And without a task it
stands for the file of references: all that is scored on the same content shares a board.

What was predicted and how it was read make a record; the metrics do not. Saving the same once more
with other metrics adds their scores to those that are there.
"""

from mmbench.external._command import Asked
from mmbench.external._content import BUDGET, DATASET, task_name
from mmbench.external._saving import FAMILY, save

__all__ = ["BUDGET", "DATASET", "FAMILY", "Asked", "save", "task_name"]
