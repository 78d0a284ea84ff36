"""Weights on disk: safetensors in shards or one file, and others' .bin and .pth read without running their pickles."""
