"""The simulated chromatin data set, whose truth is known."""
