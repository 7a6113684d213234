"""What it takes to score with a class of torchmetrics; `mmbench.metrics._from_torchmetrics`."""
