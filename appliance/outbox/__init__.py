"""The outbox: alerts waiting for the broker; durable, bounded, in order, at least once.

What it promises, and why it can:

* *Safe from a kill when ``add`` returns.* An alert is committed to SQLite's write-ahead log, hence in the kernel's
  hands, before the loop goes on: some tens of microseconds, no fsync.
* *Safe from a power cut after ``sync_interval_s``.* The publisher's thread calls ``sync``, which does every fsync there
  is (see ``sync.py``). A power cut before that loses the newest alerts, and only those: what is found afterwards is
  always everything up to some moment. The last of the sequence numbers are then given out again, in a new boot:
  ``boot_id`` and ``seq`` together are unique.
* *At least once, in order.* A message is deleted on ``acknowledge`` only. Acknowledgements are written together, so a
  kill sends some messages once more; it never loses one.
* *Bounded.* At ``rows_max`` or ``size_bytes_max`` the oldest telemetry goes first, then the oldest alert; each is
  counted. A message that never gets through goes to the dead letters, of which the newest are kept. The file keeps the
  size of its largest backlog and uses the room again.
* *Start is not delayed by the backlog.* Opening reads a few pages; messages are read as the publisher asks for them.
* *A disk that is full or fails.* Messages wait in memory, a bounded number, and go to the disk in order when it works
  again. Only when the memory is full too does ``add`` raise OutboxError.
* *A damaged file is set aside*, what can be read of it is saved, and nothing is emptied in silence. The three newest
  are kept as ``<file>.corrupt-<n>``.
"""

from appliance.outbox.errors import UnavailableError
from appliance.outbox.outbox import Outbox
from appliance.outbox.row import DeadLetter, Depth, Waiting

__all__ = ["DeadLetter", "Depth", "Outbox", "UnavailableError", "Waiting"]
