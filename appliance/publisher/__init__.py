"""What leaves the appliance: alerts in order and at least once, the newest state, and who is listening to commands.

``publisher`` keeps a session with the broker as far as there is one; ``delivery`` decides what is sent next in it.
"""

from appliance.publisher.publisher import Publisher

__all__ = ["Publisher"]
