"""A text on the console, once a layer, with its eliminated words dimmed."""

from rich.padding import Padding
from rich.text import Text

from latadj.inference.explain import Explanation, Reading
from latadj.inference.explained_text import Word
from latadj.utils.console import console
from latadj.utils.readable import printable

BAR = 20
# Where nothing can be dimmed, a word that is gone is a dot.
GONE = "·"


def print_explanation(explanation: Explanation) -> None:
    """Print the answer, then the text as it leaves each layer at the requested speedup."""
    reading, plain = explanation.readings[explanation.selected], not console.is_terminal
    console.print(headline(explanation, reading), soft_wrap=plain)
    for layer in range(explanation.layers):
        console.print()
        console.print(layer_line(explanation, reading, layer), soft_wrap=plain)
        if explanation.pooled is not None and layer == explanation.layers - 1:
            continue
        text = layer_text(explanation, reading, layer, dots=console.color_system is None)
        console.print(text if plain else Padding(text, (0, 0, 0, 2)), soft_wrap=plain)
    if explanation.cut:
        console.print(
            f"\nnot read: the last {explanation.cut} words, beyond {explanation.tokens} tokens", highlight=False
        )


def headline(explanation: Explanation, reading: Reading) -> Text:
    """The answer at a speedup, and beside it the one at speedup 1."""
    line = Text()
    line.append(f"{reading.speedup:g}x", style="bold")
    line.append(printable(f" of {explanation.model}" + (f" on {explanation.task}" if explanation.task else "") + ": "))
    line.append(
        printable(explanation.answer_text(reading)), style="bold" if explanation.agrees(reading) else "bold red"
    )
    first = explanation.readings[0]
    if reading.speedup != first.speedup:
        line.append(f"; at 1x {printable(explanation.answer_text(first))}")
    line.append(f" ({reading.flops_speedup:.2f}x fewer FLOPs on this text)", style="dim")
    return line


def layer_line(explanation: Explanation, reading: Reading, layer: int) -> Text:
    """How much of the text leaves a layer, and what that saves."""
    line = Text(f"layer {layer + 1:>{len(str(explanation.layers))}}  ", style="bold")
    share = reading.left[layer] / explanation.tokens
    if explanation.pooled is not None and layer == explanation.layers - 1:
        line.append(f"the head reads {pooled_name(explanation)} alone", style="not bold")
    else:
        full = round(BAR * share)
        line.append("━" * full, style="cyan")
        line.append("━" * (BAR - full) if console.color_system else " " * (BAR - full), style="bright_black dim")
        words = explanation.words_left(reading)[layer]
        line.append(f"  {100 * share:3.0f}% left, {words} of {explanation.words_read} words", style="not bold")
    line.append(f", saves {100 * reading.saved[layer]:.0f}% of its FLOPs", style="dim not bold")
    return line


def layer_text(explanation: Explanation, reading: Reading, layer: int, *, dots: bool) -> Text:
    """The text as it leaves a layer.

    What was eliminated before is dim, what this layer eliminates is struck through as well; words of more than twice
    the layer's average ACC are bold.

    Parameters
    ----------
    dots : write every eliminated word as a dot, for a console without styles
    """
    shares = reading.acc[layer]
    present = [share for share in shares if share > 0]
    strong = 2 * sum(present) / max(len(present), 1)
    text = Text()
    for word, depth, share in zip(explanation.words, reading.depth, shares, strict=True):
        if not word.pieces:
            continue
        if text:
            text.append(" " if word.gap else "")
        alive = depth > layer
        style = "bold" if alive and share > strong else "" if alive else "dim strike" if depth == layer else "dim"
        text.append(GONE if dots and not alive else printable(word.text), f"{style} cyan" if word.special else style)
    return text


def pooled_name(explanation: Explanation) -> str:
    """The position that the head reads."""
    word = pooled_word(explanation)
    return printable(word.text) if word is not None and word.special else "the last token"


def pooled_word(explanation: Explanation) -> Word | None:
    """The word that holds the position that the head reads."""
    return next((word for word in explanation.words if explanation.pooled in word.pieces), None)
