"""The `llava` command: argument parsing, and nothing that a room could do itself."""
