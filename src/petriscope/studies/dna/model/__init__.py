"""Nucleotide Transformer: its tokenizer, both forms of the model, their checkpoints."""
