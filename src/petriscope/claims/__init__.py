"""Claims: frozen rules, the ledger of verdicts, how each is checked, and the family behind every
adjusted p-value."""
