"""moto's S3 over HTTP on this machine, and a proxy in front of it that counts bytes and can cut."""

import contextlib
import os
import socket
import threading

import boto3
import fsspec
from moto.server import ThreadedMotoServer

KEYS = {"key": "testing", "secret": "testing"}


DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: 66\r\n\r\n"
    b"<Error><Code>AccessDenied</Code><Message>no entry</Message></Error>"
)
DENIED = DENIED.replace(b"66", b"%d" % len(DENIED.partition(b"\r\n\r\n")[2]))


class Proxy:
    """Passes connections on; after `cut_after` bytes in the direction `cut` it resets them all."""

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.n_bytes = {"up": 0, "down": 0}
        self.cut, self.cut_after, self.denies = None, 0, False
        self._sockets = set()
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._threads[0].start()

    def reset(self, cut=None, cut_after=0, denies=False):
        """`denies`: every request is answered with 403."""
        self.n_bytes.update(up=0, down=0)
        self.cut, self.cut_after, self.denies = cut, cut_after, denies
        for each in list(self._sockets):
            self._end(each)
        self._sockets.clear()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            self._end(each)
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets |= {client, server}
            for way, one, other in (("up", client, server), ("down", server, client)):
                arguments = (way, one, other)
                thread = threading.Thread(target=self._pass, args=arguments, name="proxy")
                self._threads.append(thread)
                thread.start()

    def _pass(self, way, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if self.denies and way == "up":
                    head, _, body = DENIED.partition(b"\r\n\r\n")
                    one.sendall(head + b"\r\n\r\n" + (b"" if data.startswith(b"HEAD") else body))
                    one.shutdown(socket.SHUT_WR)
                    while one.recv(1 << 16):
                        pass
                    break
                self.n_bytes[way] += len(data)
                if self.cut == way and self.n_bytes[way] > self.cut_after:
                    break
                other.sendall(data)
        for each in (one, other):
            self._end(each)

    @staticmethod
    def _end(each):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextlib.contextmanager
def s3_server():
    """The proxy; fsspec's s3:// goes to it, with one retry at most."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    url = f"http://127.0.0.1:{proxy.port}"
    settings = {
        **KEYS,
        "endpoint_url": url,
        "client_kwargs": {"region_name": "us-east-1"},
        "config_kwargs": {
            "retries": {"max_attempts": 1},
            "connect_timeout": 2,
            "read_timeout": 120,
        },
    }
    before = fsspec.config.conf.get("s3")
    variables = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    old = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    fsspec.config.conf["s3"] = settings
    fs = fsspec.filesystem("s3")
    store = type(fs)
    n_retries, store.retries = store.retries, 1
    try:
        client(proxy).create_bucket(Bucket="models")
        yield proxy
    finally:
        if before is None:
            del fsspec.config.conf["s3"]
        else:
            fsspec.config.conf["s3"] = before
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        store.retries = n_retries
        store.clear_instance_cache()
        proxy.close()
        server.stop()


def client(proxy):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{proxy.port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
