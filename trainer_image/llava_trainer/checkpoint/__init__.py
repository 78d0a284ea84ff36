"""Training state on storage: written whole or not at all, read on any number of ranks."""
