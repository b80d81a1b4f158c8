"""A contrast says which features differ between two conditions, and how sure that is:
`petriscope.contrast(codes, design)`."""

from petriscope.verbs import make_callable

make_callable(__name__, "petriscope.contrast.score:contrast")
