"""What runs inside one attempt: data, model, engine, checkpoints, exports and scores."""
