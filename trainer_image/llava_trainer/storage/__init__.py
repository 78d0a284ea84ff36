"""Where bytes lie and how they get there: one small interface over obstore for the job's prefix, and weights by URI.

location.py reads URIs, store.py says what a prefix offers, folder.py and bucket.py how a disk and S3 keep it,
connection.py reaches the server, mirror.py keeps copies, answers.py turns foreign errors into ours, sources.py
fetches what the user named.
"""

from llava_trainer.storage.answers import Absent, AlreadyWritten, Forbidden, Found, NoBucket, Unreachable
from llava_trainer.storage.opening import home_of, open_storage
from llava_trainer.storage.sources import materialise, source_digest
from llava_trainer.storage.store import ObjectInfo, Storage

__all__ = [
    "Absent", "AlreadyWritten", "Forbidden", "Found", "NoBucket", "ObjectInfo", "Storage", "Unreachable",
    "home_of", "materialise", "open_storage", "source_digest",
]  # fmt: skip
