"""The publishing side: keys, signed metadata, deltas, rollouts. Never on a device."""
