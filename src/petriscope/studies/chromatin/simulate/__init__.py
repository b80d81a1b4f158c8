"""The simulated chromatin data set is made here; its truth is known."""
