"""mmbench: which way of fusing modalities is better on this task, by how much, and is that real?"""

__version__ = "0.1.0"
