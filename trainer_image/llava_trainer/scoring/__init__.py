"""How a model's raw answers to a multiple-choice benchmark become scores: text in, table out, no tensors."""
