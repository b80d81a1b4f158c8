"""The data sets of study cells: counts of genes in cells, their vocabularies and annotations."""
