"""The smallest task on which everything can be run."""

from __future__ import annotations

#: A task that is trained and tested in half a second.
TASK = """
schema = 1
name = "mini"
version = 1
summary = "A few scenes."
default_budget = "brief"

[dataset]
name = "scenecap"
version = 1
seed = 3

[modalities]
image = { kind = "image", shape = [3, 48, 48] }
audio = { kind = "spectrogram", shape = [2, 16, 24] }

[outputs]
caption = { kind = "text" }

[splits]
train = 64
val = 16
test = 24
ood = 12

[metrics]
main = "rouge_l"
also = ["cider_d", "slot_f1"]

[budgets]
brief = { items = 64, steps = 6, validations = 1, validation_items = 8 }

[levels.rouge_l]
floor = 0.1
ceiling = 0.7
alone = { image = 0.6, audio = 0.5 }
"""
