from petriscope.verbs import make_callable

make_callable(__name__, "petriscope.contrast.score:contrast")
