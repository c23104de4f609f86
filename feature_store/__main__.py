"""`python -m feature_store` is the command line."""

from feature_store.cli import main

main()
