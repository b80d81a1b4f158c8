"""A claim has a frozen rule, a verdict in the ledger, a way to check it, and the family behind
every adjusted p-value."""
