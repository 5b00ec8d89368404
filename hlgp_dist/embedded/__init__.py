"""Pictures and weights that ship with the package, so that the demo needs no download; see docs/embedded."""
