"""Metrics, one file a kind of output: item statistics that add up, and a value of the sums."""
