"""Subscribes to everything with amqtt's client; prints retain, QoS, topic and payload, as mosquitto_sub does for us.

A program of its own, so that its event loop and its warnings are not the tests'. Arguments: port, client id.
"""

import asyncio
import sys

from amqtt.client import MQTTClient


async def listen(port: int, name: str) -> None:
    """Print each message until killed."""
    client = MQTTClient(client_id=name)
    await client.connect(f"mqtt://127.0.0.1:{port}/")
    await client.subscribe([("#", 1)])
    while True:
        message = await client.deliver_message()
        if message is not None and message.publish_packet is not None:
            packet = message.publish_packet
            print(int(packet.retain_flag), packet.qos, message.topic, bytes(message.data).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(listen(int(sys.argv[1]), sys.argv[2]))
