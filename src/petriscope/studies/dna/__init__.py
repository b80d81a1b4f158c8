"""Study dna: what Nucleotide Transformer knows, and what Hidden State Genomics said of it."""
