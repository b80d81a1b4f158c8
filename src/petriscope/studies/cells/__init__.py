"""Study cells probes Geneformer and scGPT on single cells."""
