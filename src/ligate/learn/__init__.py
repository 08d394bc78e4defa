"""Merges that are learned from data: which numbers may change (parametrisation), what is wanted (objective), how it is
sought (solver). A published system is a choice of the three."""
