"""A probed model offers hidden states captured at every layer, edits of them, and runs resumed from
them."""
