"""What a reviewer asks of a run: who made it, is it intact, does it agree with what was shipped,
can it be carried away."""
