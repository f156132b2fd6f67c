"""`python -m kalecast`, where the command `kalecast` is not on the PATH."""

from kalecast.cli import main

main()
