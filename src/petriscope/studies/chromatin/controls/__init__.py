"""Inputs and branches of the pipeline that take one source of information away."""
