"""Which features differ between the conditions of a design: `petriscope.contrast(codes, design)`."""

from petriscope.verbs import make_callable

make_callable(__name__, "petriscope.contrast.score:contrast")
