"""The command that serves a model over HTTP."""

from dataclasses import dataclass

from latadj.config.commands.base import CommandConfig, runtime_option
from latadj.config.fields import FRACTION, NOT_NEGATIVE, POSITIVE, Rule, Section, at_least, one_of, option, section
from latadj.config.options.ray import ENGINES, RayServeOptions
from latadj.config.speedups import one_speedup

POLICY = one_of("slack", "fixed")
PORT = Rule("a port from 0 (one that is free) to 65535", lambda value: 0 <= value <= 65535)


@dataclass
class ServeLimits(Section):
    """What a request may be."""

    body_bytes: int = option(2_000_000, "bytes of a request's body", at_least(1))
    body_s: float = option(10.0, "seconds in which a body is to be sent", POSITIVE)
    text_characters: int = option(65_536, "characters of a text", at_least(1))
    request_texts: int = option(256, "texts of a request", at_least(1))
    waiting_texts: int = option(10_000, "texts that may wait", at_least(1))


@dataclass
class ServeConfig(CommandConfig):
    """`latadj serve`; its model and task say where the checkpoint is, which says what it is for."""

    runtime: str | None = runtime_option()
    host: str = option("127.0.0.1", "address to listen at; 0.0.0.0: every one of this machine")
    port: int = option(8080, "port to listen at; 0: one that is free", PORT)
    deadline_ms: float = option(50.0, "milliseconds in which a request is to be answered", POSITIVE)
    policy: str = option("slack", "slack: the smallest speedup that is enough; fixed: speedup=", POLICY)
    speedup: float = option(1.0, "speedup of policy=fixed", parse=one_speedup("serve"))
    max_speedup: float | None = option(None, "largest speedup that may be used; null: the dial's", at_least(1))
    max_drop: float | None = option(
        1.0,
        "points of the metric that may be lost, as calibrate measured; null: any",
        NOT_NEGATIVE,
    )
    confident: bool = option(False, "judge max_drop by the upper end of the 95% interval, not by the mean")
    batch_tokens: int = option(8192, "tokens of a batch, padded to its longest text", at_least(1))
    reserve: float = option(0.1, "share of a deadline that is kept for what no prediction sees", FRACTION)
    engine: str = option("local", "local: this process and its replicas; ray: Ray Serve", one_of(*ENGINES))
    replicas: int = option(1, "processes that hold the model, each with device.threads of its own", at_least(1))
    tokenizers: int = option(1, "threads that tokenise requests of many characters", at_least(1))
    warm_up_s: float = option(10.0, "seconds of measuring before the server is ready; 0: none", NOT_NEGATIVE)
    truncate: bool = option(False, "cut texts that are too long where a request does not say whether to")
    max_length: int | None = option(None, "most tokens of a text; null: as fine-tuned", at_least(2))
    linger_s: float = option(
        0.5, "seconds after SIGTERM in which requests are still let in, each the last of its connection", NOT_NEGATIVE
    )
    drain_s: float = option(30.0, "seconds to answer who was let in until then", POSITIVE)
    api_key: str | None = option(None, "key that requests are to bring; null: none; LATADJ_API_KEY holds it too")
    page: bool = option(True, "a page at / that shows load, latency and dial as they are now")
    reload: bool = option(False, "POST /reload loads the checkpoint anew, beside the one that is served until then")
    access_log: bool = option(False, "a line of JSON on standard output for each request")
    limits: ServeLimits = section(ServeLimits, "what a request may be")
    ray: RayServeOptions = section(RayServeOptions, "the cluster of engine=ray")

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.policy == "slack" and self.speedup != 1.0:
            problems.append(f"speedup={self.speedup:g} with policy=slack, which picks speedups: give policy=fixed")
        if self.policy == "fixed" and self.max_speedup is not None:
            problems.append(f"max_speedup={self.max_speedup:g} with policy=fixed: give speedup alone")
        if self.confident and self.max_drop is None:
            problems.append("confident=true says how max_drop is judged: give max_drop too")
        if self.engine != "ray" and self.ray != RayServeOptions():
            problems.append("ray.* with engine=local: give engine=ray")
        if self.engine == "ray" and self.port == 0:
            problems.append("port=0 with engine=ray, whose proxies take a port that you name")
        if self.engine == "ray" and (self.device.threads is None or self.device.cpus is not None):
            problems.append(
                "engine=ray: Ray places replicas, and each has device.threads=N threads: give that, as calibrated, and "
                "no device.cpus"
            )
        if self.engine == "ray" and self.reload:
            problems.append("reload=true with engine=ray, where one replica would reload: start it again instead")
        if self.ray.autoscaling is not None and self.replicas != 1:
            problems.append(f"replicas={self.replicas} with ray.autoscaling, which says how many: give one of them")
        if self.prompt is not None:
            problems.append("prompt=: serve asks a model's classification head, which takes no prompt")
        return problems
