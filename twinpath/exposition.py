"""A program's figures at /metrics (Prometheus text) and its health at /healthz, on loopback by default."""

import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from twinpath.errors import EnvironmentFault


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is no news."""


def serve(registry: CollectorRegistry, healthy: Callable[[], bool], host: str, port: int) -> WSGIServer:
    """Serve in a daemon thread on an address of this machine; port 0 takes a free one."""
    exposition = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            body: Iterable[bytes] = exposition(environ, start_response)
            return body
        if path == "/healthz":
            ok = healthy()
            start_response("200 OK" if ok else "503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"ok\n" if ok else b"not ready\n"]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"wanted /metrics or /healthz\n"]

    try:
        server = make_server(host, port, application, handler_class=_Quiet)
    except OSError as error:
        raise EnvironmentFault(
            f"metrics at {host}:{port}: {error.strerror}. Choose others with METRICS_HOST and METRICS_PORT"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
