"""What a model offers to be probed: hidden states captured at every layer, edits of them, and runs
resumed from them.

The package is a verb too: `petriscope.probe(module, blocks, readout)` is `probe.hooked.probe`.
"""

from petriscope.verbs import make_callable

make_callable(__name__, "petriscope.probe.hooked:probe")
