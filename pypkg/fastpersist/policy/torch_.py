"""What is approved of torch: nothing by default.

A file of torch's own keeps storages outside of its pickle (by persistent ids), and pickle.dumps() of
a tensor keeps each storage as bytes for torch.storage._load_from_bytes, which is torch.load: it loads
another pickle, and is never approved. What is left takes sizes and strides over a storage and checks
them (``torch._utils._rebuild_tensor_v2``), but there is no storage to give to it. Modules
(``torch.nn.modules``) run hooks from their own state. ``torch.load(weights_only=True)`` is the way to
read those files.
"""

from __future__ import annotations

from fastpersist.policy.rows import Row

ROWS: tuple[Row, ...] = ()
