"""Enrichment: sets over a universe of places, where features fire against a matched background.

The package is a verb too: `petriscope.enrich(codes, features, sets)` is `enrich.sets.enrich`.
"""

from petriscope.verbs import make_callable

make_callable(__name__, "petriscope.enrich.sets:enrich")
