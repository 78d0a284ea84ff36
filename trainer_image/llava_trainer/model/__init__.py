"""The model: vision tower, projector and LLM, how they are tuned, and how they answer."""
