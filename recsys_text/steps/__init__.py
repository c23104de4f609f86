"""The steps of the pipeline: the only place where I/O meets compute. One module per step or family of steps."""
