"""The probed models of study cells: Geneformer and scGPT, their tokenizers and weights."""
