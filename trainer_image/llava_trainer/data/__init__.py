"""From a row of an annotation file to a batch on a device: Record -> Conversation -> Sample -> Pack -> Batch.

Only shards.py (pyarrow, numpy) and batch.py (torch) need more than the base install.
"""
