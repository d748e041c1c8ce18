"""Generated text on the console, as it comes."""

import time

from torch import Tensor
from transformers import PreTrainedTokenizerBase, TextStreamer

from latadj.utils.console import console


class ConsoleStreamer(TextStreamer):
    """Shows text word by word, and notes when its tokens came.

    text : all that was shown
    times : ``time.perf_counter`` at every token
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.text = ""
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        """Take the prompt, which comes first and is not shown, or a token."""
        if not self.next_tokens_are_prompt:
            self.times.append(time.perf_counter())
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Show what is certain by now."""
        self.text += text
        console.print(text, end="\n" if stream_end else "", markup=False, highlight=False, soft_wrap=True)
