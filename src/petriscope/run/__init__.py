"""A run: parameters, workspace, stages and their graph, status, supervision, provenance,
verification."""
