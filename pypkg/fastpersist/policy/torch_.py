"""What is approved of torch: nothing by default.

A file of torch's own keeps storages outside of its pickle (by persistent ids). pickle.dumps() of a
tensor keeps each storage as bytes for torch.storage._load_from_bytes, which is torch.load: it loads
another pickle, and is never approved. What is left, ``torch._utils._rebuild_tensor_v2`` and its
like, has no storage to be given then. Modules (``torch.nn.modules``) run hooks out of their own
state. ``torch.load(weights_only=True)`` is the way to read the tensors of such files.
"""

from __future__ import annotations

from fastpersist.policy.rows import Row

ROWS: tuple[Row, ...] = ()
