"""Runs models: one kind of hardware a file. Empty, so that the worker's child loads no more than it needs."""
