"""From a row of an annotation file to a batch on a device: Record -> Conversation -> Sample -> Pack -> Batch.

record.py, conversation.py, template.py, tokenizer.py, sample.py, images.py, audit.py, pack.py and preview.py need only the base
install; shards.py needs pyarrow and batch.py torch.
"""
