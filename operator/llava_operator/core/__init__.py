"""Pure decisions: what exists and what is wanted go in, what to do next comes out."""
