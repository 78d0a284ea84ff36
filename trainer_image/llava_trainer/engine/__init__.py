"""Turning batches into better weights."""
