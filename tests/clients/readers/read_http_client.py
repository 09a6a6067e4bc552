"""Reads a stream as lines of JSON with Python's http.client, and comes back from where it was:  read_http_client.py URL [1.0]"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
if sys.argv[2:] == ["1.0"]:
    http.client.HTTPConnection._http_vsn, http.client.HTTPConnection._http_vsn_str = 10, "HTTP/1.0"
last = 0
while True:
    connection = http.client.HTTPConnection(url.netloc, timeout=25)
    try:
        headers = {"Accept": "application/x-ndjson", "Last-Event-ID": str(last)}
        connection.request("GET", f"{url.path}?{url.query}", headers=headers)
        answer = connection.getresponse()
        while line := answer.readline():
            if not line.endswith(b"\n"):
                break  # cut off in the middle
            if line.strip():  # an empty line is a sign of life
                last = json.loads(line)["seq"]
                print(line.decode(), end="", flush=True)
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    time.sleep(0.2)
