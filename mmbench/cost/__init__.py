"""What a run costs, measured while it is made: memory, throughput, latency, operations, energy.

`meter` puts together what goes into a record; `memory`, `energy` and `latency` measure. Nothing
here draws from a run's random streams or changes its bits, and what cannot be measured is None
with the reason: it fails no run. What of it can be compared is `mmbench.caveats`' matter.
"""
