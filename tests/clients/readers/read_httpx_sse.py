"""Reads a stream with httpx-sse, and comes back from where it was:  read_httpx_sse.py URL"""

import sys
import time

import httpx
from httpx_sse import connect_sse

last = "0"
with httpx.Client(timeout=25) as client:
    while True:
        try:
            with connect_sse(client, "GET", sys.argv[1], headers={"Last-Event-ID": last}) as source:
                for message in source.iter_sse():
                    if not message.data:
                        sys.exit(f"an empty message: {message!r}")
                    last = message.id or last
                    if message.event == "message":
                        print(message.data, flush=True)
        except httpx.TransportError:
            pass
        time.sleep(0.2)
