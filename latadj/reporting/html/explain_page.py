"""The page of `latadj explain --html`: one text, and a slider over the speedup at which it is read."""

from typing import Any

from latadj.inference.explain import Explanation
from latadj.reporting.explain import pooled_name, pooled_word
from latadj.reporting.html.page import page, render, static


def explain_page(explanation: Explanation) -> str:
    """The whole page; see :func:`latadj.reporting.html.page.page`."""
    body = render(
        "explain.html",
        model=explanation.model,
        task=explanation.task,
        meaning="this device's time" if explanation.target == "latency" else "FLOPs",
        last=len(explanation.readings) - 1,
        selected=explanation.selected,
    )
    return page(
        f"What {explanation.model} reads",
        body,
        style=static("explain_page.css"),
        script=static("explain_page.js"),
        data=page_data(explanation),
    )


def page_data(explanation: Explanation) -> dict[str, Any]:
    """What the page's script reads: words once, then for each speedup who leaves which layer, and the answer."""
    pooled = pooled_word(explanation)
    return {
        "type": explanation.type,
        "labels": list(explanation.labels) if explanation.type == "classification" else [],
        "layers": explanation.layers,
        "tokens": explanation.tokens,
        "entering": explanation.words_read,
        "cut": explanation.cut,
        "selected": explanation.selected,
        "pooled": None if pooled is None else explanation.words.index(pooled),
        "trimmed": None if explanation.pooled is None else pooled_name(explanation),
        "words": [
            {
                "text": word.text,
                "gap": word.gap,
                "special": word.special,
                "read": bool(word.pieces),
            }
            for word in explanation.words
        ],
        "readings": [
            {
                "speedup": reading.speedup,
                "depth": list(reading.depth),
                # In ten-thousandths, which is finer than any eye and half the size.
                "acc": [[round(10_000 * share) for share in layer] for layer in reading.acc],
                "left": list(reading.left),
                "words": explanation.words_left(reading),
                "saved": [round(saved, 4) for saved in reading.saved],
                "flops": round(reading.flops_speedup, 3),
                "outputs": [round(output, 5) for output in reading.outputs],
                "answer": explanation.answer_text(reading),
                "same": explanation.agrees(reading),
                "marks": explanation.marks(reading),
            }
            for reading in explanation.readings
        ],
    }
