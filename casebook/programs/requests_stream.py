"""Downloads reports with requests, and reads only the head of each to see
whether there is a new one.

Forgets: that with stream=True a response that was not read to the end keeps its
connection until it is closed; the responses are kept for their headers.
The healthy twin reads them in a with block.

    requests_stream.py leak|ok ADDRESS
"""
import os
import sys
import threading
import time

import requests


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def fetch_head(session, url):
    return session.get(url, stream=True)  # LEAK


def main(forgets, address):
    threading.Thread(target=end_with_input, daemon=True).start()
    session = requests.Session()
    seen = []
    print(f"peer {address}\nready", flush=True)
    while True:
        response = fetch_head(session, f"http://{address}/large")
        if forgets:
            seen.append(response)
            print("leaked", len(seen), flush=True)
        else:
            with response:
                response.raise_for_status()
        time.sleep(1)


main(sys.argv[1] == "leak", sys.argv[2])
