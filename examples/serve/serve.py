"""A web service of one model, in several worker processes that map its file.

    python examples/serve/serve.py model.pkl --port 8000 --workers 4
    curl -d '[[5.1, 3.5, 1.4, 0.2]]' http://127.0.0.1:8000/predict

Nothing but the standard library, fastpersist and what the model needs. The parent opens the
socket, starts the workers and replaces one that has died; each worker maps the file, so that the
arrays of the model are in memory once for all of them (docs/deploy.md says for which models that
counts). A worker ends after the request that it has. SIGTERM ends all; SIGHUP, behind a dump to the
same path, checks the file, starts workers that map it and ends the old ones, which keep the file
that they have until then. Meant to stand behind a proxy, as servers in Python do.
"""

import argparse
import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import fastpersist
import numpy as np

MAX_BODY = 16 << 20  # bytes
FAILED_START = 3  # exit status of a worker that could not load the model


class Handler(BaseHTTPRequestHandler):
    """POST /predict: a JSON list of rows, answered by a list; GET /health: the worker's id."""

    model = None
    timeout = 10  # seconds, for a client that says nothing

    def do_GET(self):
        if self.path != "/health":
            return self.answer(404, {"error": "GET /health or POST /predict"})
        return self.answer(200, {"worker": os.getpid()})

    def do_POST(self):
        if self.path != "/predict":
            return self.answer(404, {"error": "GET /health or POST /predict"})
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return self.answer(411, {"error": "Content-Length is missing"})
        if not 0 <= length <= MAX_BODY:
            return self.answer(413, {"error": f"more than {MAX_BODY} bytes"})
        try:
            rows = np.asarray(json.loads(self.rfile.read(length)), dtype=float)
            answers = self.model.predict(rows)
        except (ValueError, TypeError) as error:
            return self.answer(400, {"error": str(error)})
        return self.answer(200, np.asarray(answers).tolist())

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # the proxy has the log of requests


class Server(HTTPServer):
    """One request after the other, on a socket that is listening already."""

    timeout = 1  # seconds, until it looks whether it is to end

    def __init__(self, listener):
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        listener.setblocking(False)  # another worker may have been faster
        self.is_ending = False
        signal.signal(signal.SIGTERM, self.end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))

    def end(self, *_):
        self.is_ending = True

    def get_request(self):
        request, address = super().get_request()
        request.setblocking(True)
        return request, address

    def serve(self):
        while not self.is_ending:
            self.handle_request()


def work(listener, path, trusted):
    """A worker's life; returns its exit status."""
    try:
        Handler.model = fastpersist.load(path, mmap_mode="r", trusted=trusted, environment="raise")
    except Exception as error:
        print(f"serve: {path}: {error}", file=sys.stderr)
        return FAILED_START
    Server(listener).serve()
    return 0


def start(listener, path, trusted):
    worker = os.fork()
    if worker:
        return worker
    status = 1
    try:
        status = work(listener, path, trusted)
    finally:
        os._exit(status)


def serve(listener, path, n_workers, trusted):
    """The parent's life; returns its exit status."""
    waited_for = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    workers = {start(listener, path, trusted) for _ in range(n_workers)}
    status = 0
    while True:
        number = signal.sigwait(waited_for)
        if number == signal.SIGHUP and is_good(path):
            old, workers = workers, {start(listener, path, trusted) for _ in range(n_workers)}
            for worker in old:
                os.kill(worker, signal.SIGTERM)
        elif number == signal.SIGCHLD:
            for worker, left in ended():
                if worker in workers:
                    workers.remove(worker)
                    if left == FAILED_START:
                        status = 1  # another one would fail, too
                    else:
                        workers.add(start(listener, path, trusted))
            if not workers:
                return status
        elif number in (signal.SIGTERM, signal.SIGINT):
            for worker in workers:
                os.kill(worker, signal.SIGTERM)
            for worker in workers:
                os.waitpid(worker, 0)
            return status


def is_good(path):
    """Whether every byte of the file is what was written; nothing of it is run."""
    try:
        fastpersist.verify(path)
    except Exception as error:
        print(f"serve: goes on with the model that it has: {path}: {error}", file=sys.stderr)
        return False
    return True


def ended():
    """Workers that are no more, with their exit status; None where a signal ended one."""
    while True:
        try:
            worker, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not worker:
            return
        yield worker, os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="what fastpersist.dump wrote, not compressed")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: one that is free")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trusted", action="store_true",
                        help="load only what fastpersist.policy approves")  # fmt: skip
    options = parser.parse_args()
    with socket.create_server((options.host, options.port), backlog=128) as listener:
        host, port = listener.getsockname()[:2]
        print(f"http://{host}:{port}", flush=True)
        trusted = () if options.trusted else None
        return serve(listener, options.model, options.workers, trusted)


if __name__ == "__main__":
    sys.exit(main())
