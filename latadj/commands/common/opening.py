"""How commands begin: a seed, and quiet libraries. Imports no data sets, so that a single text starts fast."""

import logging

from transformers import set_seed
from transformers.utils import logging as transformers_logging

from latadj.config.commands.base import CommandConfig


def begin(config: CommandConfig) -> None:
    """Seed everything, and let transformers show neither bars nor warnings: what matters is said by the command."""
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    set_seed(config.seed)
