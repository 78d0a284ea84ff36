"""The one-file page that says what a job did: nouns in facts.py, gathered by collect.py, drawn by page.py."""
