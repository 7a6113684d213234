"""What every worker needs and takes long to import: once, in the process they are forked from.

Nothing here may compute: threads and a GPU's context would not survive the fork.
"""

import pyarrow.parquet  # noqa: F401
import safetensors.torch  # noqa: F401
import torch  # noqa: F401

import mmbench.executors._worker
import mmbench.metrics
import mmbench.models.build
import mmbench.models.feed  # noqa: F401
