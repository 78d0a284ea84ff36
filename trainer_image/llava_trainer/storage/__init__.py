"""Where bytes lie and how they get there: one small interface over obstore for the job's prefix, and weights by URI.

location.py reads URIs, store.py moves bytes, answers.py turns foreign errors into ours, sources.py fetches what
the user named.
"""

from llava_trainer.storage.answers import Absent, AlreadyWritten, Forbidden, Found, Unreachable
from llava_trainer.storage.sources import materialise, source_digest
from llava_trainer.storage.store import ObjectInfo, Storage, open_storage

__all__ = [
    "Absent", "AlreadyWritten", "Forbidden", "Found", "ObjectInfo", "Storage", "Unreachable", "materialise",
    "open_storage", "source_digest",
]  # fmt: skip
