"""Petriscope: what does a chromatin foundation model know about a petri dish?"""

__version__ = "0.1.0"
