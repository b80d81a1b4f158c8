"""Control of a DVC pipeline from outside DVC: read its files, tell what is stale and why, run it, watch it, cancel it."""
