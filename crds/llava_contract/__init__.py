"""What the operator and the trainer tell each other; nothing else may be shared between them."""
