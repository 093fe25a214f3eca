"""Times with an exponential distribution, for the closed forms of queueing theory."""

import math

COUNT = 20_000
EXPONENTIAL = tuple(-math.log(1 - (rank + 0.5) / COUNT) for rank in range(COUNT))
"""Quantiles of the exponential distribution of mean 1."""
