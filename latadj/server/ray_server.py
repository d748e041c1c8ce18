"""The same application as a deployment of Ray Serve, whose replicas each hold a model of their own.

Ray brings the HTTP proxy, shares requests out among replicas, on as many machines as its cluster has, and starts and
ends replicas. Queue, dial and deadlines are each replica's own.
"""

import logging
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from latadj.config import ServeConfig
from latadj.inference.ray_cluster import connect
from latadj.server.application import application
from latadj.server.model_service import ModelService

log = logging.getLogger("latadj")
NAME = "latadj"
# What went wrong in this process.
_failures: list[Exception] = []


def fail_replica(error: Exception) -> None:
    """Note that this process answers nobody any more."""
    _failures.append(error)


class Replica:
    """What Ray asks of a replica, beside requests."""

    def check_health(self) -> None:
        """Tell Ray to start another replica in place of this one where its model is lost."""
        if _failures:
            raise RuntimeError(str(_failures[0]))


class RayServer:
    """Deploys a model on a Ray cluster, or on one that is started here.

    Parameters
    ----------
    opened : opens the model of a config; Ray calls it in each replica

    Raises
    ------
    ValueError
        if no cluster answers, it has too few CPUs, or the model is refused.
    """

    def __init__(self, config: ServeConfig, opened: Callable[[ServeConfig], ModelService]) -> None:
        try:
            from ray import serve
        except ImportError as error:
            raise ValueError(f"engine=ray needs Ray Serve: pip install 'latadj[serve,ray]' ({error})") from error
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        self._serve, self._owns, self._deployed = serve, config.ray.address is None, False
        replicas = _first_replicas(config)
        self._ray = connect(config.ray.address)
        try:
            self._require_room(config, replicas)
            serve.start(http_options={"host": config.host, "port": config.port}, logging_config=_quiet(config))
            self._deploy(config, opened)
        except BaseException:
            self.stop()
            raise

    def _require_room(self, config: ServeConfig, replicas: int) -> None:
        """Refuse to wait for CPUs that this machine does not have; a cluster of several may grow."""
        each, have = _cpus(config), self._ray.cluster_resources().get("CPU", 0)
        if self._owns and replicas * each > have:
            raise ValueError(
                f"{replicas} replicas of {each:g} CPUs each, and this machine has {have:g}: take fewer replicas, or "
                "less with ray.cpus= or device.threads="
            )

    def _deploy(self, config: ServeConfig, opened: Callable[[ServeConfig], ModelService]) -> None:
        from ray.serve.exceptions import RayServeException

        if NAME in self._serve.status().applications:
            raise ValueError(
                f"ray.address={config.ray.address}: this cluster serves an application {NAME} already; end that first"
            )
        # A replica runs in a folder of Ray's, and has no other replicas inside.
        own = replace(config, checkpoint=str(Path(config.checkpoint).resolve()), replicas=1, page=False)

        def build() -> FastAPI:
            service = opened(own)
            service.warm_up()
            return application(service, fail_replica, on_ray=True)

        options: dict[str, Any] = (
            {"autoscaling_config": config.ray.autoscaling}
            if config.ray.autoscaling
            else {"num_replicas": config.replicas}
        )
        deployment = self._serve.deployment(
            self._serve.ingress(build)(Replica),
            name=NAME,
            ray_actor_options={"num_cpus": _cpus(config)},
            # The server's own queue says what is too much.
            max_ongoing_requests=config.limits.waiting_texts,
            graceful_shutdown_timeout_s=config.drain_s,
            max_constructor_retry_count=1,  # who is refused once is refused again
            logging_config=_quiet(config),
            **options,
        )
        log.info("waiting for the replicas, which load the model and warm it up")
        self._deployed = True
        try:
            self._serve.run(deployment.bind(), name=NAME)
        except (RuntimeError, RayServeException) as error:
            raise ValueError(self._reason() or str(error).splitlines()[0]) from error

    def _reason(self) -> str | None:
        """Why the replicas did not start, as latadj says it."""
        deployed = self._serve.status().applications.get(NAME)
        said = [part.message or "" for part in deployed.deployments.values()] if deployed else []
        found = re.findall(r"^\s*(?:\w*\.)*\w*Error: (.+)$", "\n".join(said), re.MULTILINE)
        return str(found[-1]) if found else None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and then answer who was let in."""
        ended = threading.Event()

        def end(number: int, frame: object) -> None:
            log.info("stopped by %s", signal.Signals(number).name)
            ended.set()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not ended.wait(1.0):
                pass
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Take the deployment away, and the cluster where it was started here."""
        if self._deployed:
            with suppress(Exception):  # it may not have started
                self._serve.delete(NAME)
        self._ray.shutdown()  # which ends the cluster where it was started here


def _first_replicas(config: ServeConfig) -> int:
    """How many replicas begin.

    Raises
    ------
    ValueError
        if Ray does not take ``ray.autoscaling``.
    """
    if not config.ray.autoscaling:
        return config.replicas
    from ray.serve.config import AutoscalingConfig

    try:
        scaling = AutoscalingConfig(**config.ray.autoscaling)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"ray.autoscaling={config.ray.autoscaling}: Ray does not take it ({reason})") from error
    return int(scaling.initial_replicas or scaling.min_replicas)


def _cpus(config: ServeConfig) -> float:
    """CPUs that a replica reserves."""
    return config.ray.cpus if config.ray.cpus is not None else float(config.device.threads or 1)


def _quiet(config: ServeConfig) -> dict[str, Any]:
    # Ray writes its access log at INFO.
    return {"log_level": "INFO" if config.access_log else "WARNING", "enable_access_log": config.access_log}
