"""The statistics of intervals and comparisons. numpy and scipy only."""
