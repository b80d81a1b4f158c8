"""What a model offers to be probed: hidden states captured at every layer, edits of them, and runs
resumed from them."""
