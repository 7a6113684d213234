"""Several seeds of one model trained as a batch: one pass of the model's code for all of them.

What a seed decides stays its own: initialisation, order of items, choice of target texts, modality
dropout, and what is drawn inside of the model. So do validation, the weights that are kept,
patience and divergence; a seed that has ended leaves the batch.

On a CPU with one thread, and batches of a multiple of 16 items, a seed mostly gets the very bits
that it gets alone, whatever stands beside it (`mmbench.models.stacked` says what for). Elsewhere
the last digits differ, as they do between two machines. So they do with texts, which are padded to
the longest of all seeds' batches. A difference there is no difference in what is learned: it grows
in parameters of which nothing depends, such as the biases of attention's keys.

Whether a model can be trained so is tried before training: on the first batch of every stage, the
losses and gradients of all seeds at once are held against those of each seed alone. Where they
cannot be had or do not agree, or where the batch does not fit the memory, the seeds are trained one
after the other, exactly as without all of this.

Interrupted, a batch goes on from its own checkpoints and ends with the same bits. They hold all of
its seeds and lie beside where the records will be.

`flow` is the whole way of such runs, `trial` asks whether it can be, `loop` trains: with each
`seed`'s own things, with `data` of all, and with a `player` for each objective.
"""

from mmbench.together.flow import (
    batchable,
    execute_together,
    made_together,
    spent_checkpoints,
)
from mmbench.together.loop import train_together
from mmbench.together.trial import tried

__all__ = [
    "batchable",
    "execute_together",
    "made_together",
    "spent_checkpoints",
    "train_together",
    "tried",
]
