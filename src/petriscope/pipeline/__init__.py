"""Control of a DVC pipeline from outside DVC: what is stale and why; run, watch and cancel it."""
