"""Brings updates of models to this device: asks what is signed, fetches, proves, lays ready. The loop tries them."""
