"""A run has parameters, a workspace, stages and their graph, status, supervision, provenance,
verification."""
