"""Vocabularies and weights of the released models of study cells, from their official places.

No stage imports this package: what it makes is named in dataset.yaml and params.yaml.
"""
