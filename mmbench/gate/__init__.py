"""May this candidate replace the reference? Non-inferiority, task by task and metric by metric.

`policy` says what is held against what margin, `sides` finds what belongs together, `verdicts`
judges, `promotion` makes a candidate the reference, and `history` watches many commits.
"""
