"""Where a model came from, as its weights tell: kinship, parents, merges; and keeping weights from being merged."""
