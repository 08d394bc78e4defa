"""The command line: a thin skin over `ligate.verbs`, one file per verb."""
