"""The page of `latadj serve`: what is asked of it now, how fast it answers, and a box to try a text."""

from dataclasses import dataclass

from latadj.reporting.html.page import page, render, static


@dataclass(frozen=True)
class ServedModel:
    """What the page says of the model.

    name : folder of the checkpoint
    max_drop : points that may be lost; None: as far as the dial goes
    fastest : the largest speedup that may be used
    needs_key : whether requests bring an API key
    embeds : whether it answers with embeddings
    """

    name: str
    policy: str
    deadline_ms: float
    max_drop: float | None
    fastest: float
    needs_key: bool
    embeds: bool = False


def live_page(model: ServedModel) -> str:
    """The whole page; see :func:`latadj.reporting.html.page.page`."""
    return page(
        f"latadj serve · {model.name}",
        render("live.html", model=model),
        style=static("live_page.css"),
        script=static("live_page.js"),
        data={"deadline": model.deadline_ms, "fastest": model.fastest, "embeds": model.embeds},
        asks_its_server=True,
    )
