"""A stand-in for another AWS endpoint: objects of S3 and an echo of everything else. It is the upstream, not ours."""

import contextlib
import http.server
import json
import threading

NO_BUCKET = ("NoSuchBucket", "The specified bucket does not exist")
NO_KEY = ("NoSuchKey", "The specified key does not exist.")


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        bucket, _, key = self.path.split("?")[0].lstrip("/").partition("/")
        objects = self.server.objects
        if "/s3/" not in self.headers.get("Authorization", ""):
            return self.echo()
        if not any(known == bucket for known, _ in objects):
            return self.refuse(*NO_BUCKET)
        if (bucket, key) not in objects:
            return self.refuse(*NO_KEY)
        self.answer(200, objects[bucket, key], "application/zip")

    def echo(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = {"method": self.command, "path": self.path, "body": body.decode(), "headers": dict(self.headers)}
        self.answer(200, json.dumps(seen).encode(), "application/json")

    do_POST = do_PUT = do_DELETE = echo

    def refuse(self, code, message):
        self.answer(404, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode(), "application/xml")

    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(objects):
    """Its URL, while it serves {(bucket, key): bytes}."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.objects = objects
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
