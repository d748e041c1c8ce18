"""A text on the console, once a layer, with its eliminated words dimmed."""

from rich.padding import Padding
from rich.text import Text

from latadj.inference.explain import Explanation, Reading, Word
from latadj.utils.console import console

BAR = 20
# Where nothing can be dimmed, a word that is gone is a dot.
GONE = "·"


def print_explanation(found: Explanation) -> None:
    """Print the answer, then the text as it leaves each layer at the speedup asked for."""
    reading, plain = found.readings[found.selected], not console.is_terminal
    console.print(headline(found, reading), soft_wrap=plain)
    for layer in range(found.layers):
        console.print()
        console.print(layer_line(found, reading, layer), soft_wrap=plain)
        if found.pooled is not None and layer == found.layers - 1:
            continue
        text = layer_text(found, reading, layer, dots=console.color_system is None)
        console.print(text if plain else Padding(text, (0, 0, 0, 2)), soft_wrap=plain)
    if found.cut:
        console.print(f"\nnot read: the last {found.cut} words, beyond {found.tokens} tokens", highlight=False)


def headline(found: Explanation, reading: Reading) -> Text:
    """The answer at a speedup, and beside it the one at speedup 1."""
    line = Text()
    line.append(f"{reading.speedup:g}x", style="bold")
    line.append(f" of {found.model}" + (f" on {found.task}" if found.task else "") + ": ")
    line.append(printable(found.answer_text(reading)), style="bold" if found.agrees(reading) else "bold red")
    first = found.readings[0]
    if reading.speedup != first.speedup:
        line.append(f"; at 1x {printable(found.answer_text(first))}")
    line.append(f" ({reading.flops_speedup:.2f}x fewer FLOPs on this text)", style="dim")
    return line


def layer_line(found: Explanation, reading: Reading, layer: int) -> Text:
    """How much of the text leaves a layer, and what that saves."""
    line = Text(f"layer {layer + 1:>{len(str(found.layers))}}  ", style="bold")
    share = reading.left[layer] / found.tokens
    if found.pooled is not None and layer == found.layers - 1:
        line.append(f"the head reads {pooled_name(found)} alone", style="not bold")
    else:
        full = round(BAR * share)
        line.append("━" * full, style="cyan")
        line.append("━" * (BAR - full) if console.color_system else " " * (BAR - full), style="bright_black dim")
        words = found.words_left(reading)[layer]
        line.append(f"  {100 * share:3.0f}% left, {words} of {found.words_read} words", style="not bold")
    line.append(f", saves {100 * reading.saved[layer]:.0f}% of its FLOPs", style="dim not bold")
    return line


def layer_text(found: Explanation, reading: Reading, layer: int, *, dots: bool) -> Text:
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
    for word, depth, share in zip(found.words, reading.depth, shares, strict=True):
        if not word.pieces:
            continue
        if text:
            text.append(" " if word.gap else "")
        alive = depth > layer
        style = "bold" if alive and share > strong else "" if alive else "dim strike" if depth == layer else "dim"
        text.append(GONE if dots and not alive else printable(word.text), f"{style} cyan" if word.special else style)
    return text


def pooled_name(found: Explanation) -> str:
    """The position that the head reads."""
    word = pooled_word(found)
    return printable(word.text) if word is not None and word.special else "the last token"


def pooled_word(found: Explanation) -> Word | None:
    """The word that holds the position that the head reads."""
    return next((word for word in found.words if found.pooled in word.pieces), None)


def printable(text: str) -> str:
    """Text without what would steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
