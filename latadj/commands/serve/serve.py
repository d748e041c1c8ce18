"""latadj serve: a server that turns the dial before it drops a request."""

import logging
import sys
from dataclasses import dataclass
from socket import socket
from typing import TYPE_CHECKING

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.common.opening import begin
from latadj.commands.serve.checks import check_serve
from latadj.config import ServeConfig
from latadj.devices import device
from latadj.inference.fastest_runtime import with_fastest
from latadj.server.application import application
from latadj.server.model_service import ModelService
from latadj.server.web_server import WebServer, bound

if TYPE_CHECKING:
    from latadj.server.ray_server import RayServer

log = logging.getLogger("latadj")


@dataclass
class Ready:
    """A server with its model loaded and its port bound."""

    server: "WebServer | RayServer"
    address: str


def prepare(config: ServeConfig, checked: CheckpointMetadata | None = None) -> Ready:
    """Bind the port, load the model and try it.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if the port is in use, the model is damaged, or this device was not measured.
    """
    begin(config)
    if config.engine == "ray":
        return _on_ray(config)
    listening = bound(config.host, config.port)
    try:
        service = open_service(config, checked)
    except BaseException:
        listening.close()
        raise
    server: WebServer

    def failed(error: Exception) -> None:
        server.fail(error)

    app = application(service, failed)
    server = WebServer(app, listening, linger_s=config.linger_s, drain_s=config.drain_s)
    return Ready(server, _address(listening))


def _on_ray(config: ServeConfig) -> Ready:
    from latadj.server.ray_server import RayServer

    if config.ray.address is not None:
        # Its proxies may listen already, at a port of their own.
        address = f"the Ray cluster {config.ray.address}, port {config.port} if new"
    else:
        with bound(config.host, config.port) as listening:  # it is free: Ray's proxy takes it
            address = _address(listening)
    return Ready(RayServer(config, open_service), address)


def _address(listening: socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_service(config: ServeConfig, metadata: CheckpointMetadata | None = None) -> ModelService:
    """The checkpoint's model, ready to be served.

    Parameters
    ----------
    metadata : of the checkpoint, if they have been checked already

    Raises
    ------
    ValueError
        if the model is damaged, or this device was not measured.
    """
    metadata = check_serve(config) if metadata is None else metadata
    if config.runtime == "auto":
        speedup = config.speedup if config.policy == "fixed" else None
        config, _ = with_fastest(config, device.choose(config.device), metadata, batch=None, speedup=speedup)
        metadata = check_serve(config)
    return ModelService(config, metadata, lambda: check_serve(config))


def run(ready: Ready) -> dict[str, str]:
    """Serve until SIGTERM or SIGINT.

    Returns
    -------
    where it was served
    """
    access = logging.getLogger("latadj.access")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access.handlers, access.propagate = [handler], False
    access.setLevel(logging.INFO)
    log.info("serving on %s", ready.address)
    ready.server.run()
    return {"address": ready.address}
