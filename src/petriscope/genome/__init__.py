"""The genome and signal along it: sequence, intervals, alignments, fragments, peaks, tracks,
windows."""
