"""What Ligate does, one Python function per verb. The command line and the package's face only pass things on."""
