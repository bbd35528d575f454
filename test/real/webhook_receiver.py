"""Verifies what is posted to it with the public library of Standard Webhooks and the one secret that it knows; `PUT /` gives it another, `GET /` says how that went."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

verifier = Webhook(sys.argv[1])
counts = {"verified": 0, "refused": 0, "altered_refused": 0, "altered_verified": 0}


def takes(body, headers):
    try:
        verifier.verify(body, headers)
        return True
    except WebhookVerificationError:
        return False


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        counts["verified" if takes(body, headers) else "refused"] += 1
        other_time = str(int(headers["webhook-timestamp"]) + 1)
        altered = [(body + " ", headers), (body, {**headers, "webhook-id": "another"}), (body, {**headers, "webhook-timestamp": other_time})]
        for each in altered:
            counts["altered_verified" if takes(*each) else "altered_refused"] += 1
        self.answer(b"")

    def do_PUT(self):
        global verifier
        verifier = Webhook(self.rfile.read(int(self.headers["content-length"])).decode())
        self.answer(b"")

    def do_GET(self):
        self.answer(json.dumps(counts).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
