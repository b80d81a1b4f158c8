"""One module per DVC stage, same name: read, call, write. `run(workspace, params)` returns the
stage's metrics."""
