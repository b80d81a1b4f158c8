"""A claim has a frozen rule, a verdict in the ledger, a way to check it, and the family behind
every adjusted p-value. The verdict is one of three words: the same in ledger, atlas, UI, JSON."""

SUPPORTED, NOT_SUPPORTED, UNTESTABLE = "supported", "not supported", "cannot be tested"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNTESTABLE)
