import pytest
from datasets import Dataset
from helpers import word_tokenizer as words

from latadj.config import PromptConfig, TaskConfig
from latadj.elimination.attach import attach
from latadj.elimination.profiles import Profile
from latadj.inference.region_survival import survivors_by_region
from latadj.tasks.outputs.logits import LabelWords
from latadj.tasks.prompts import Prompts

TASK = TaskConfig(name="toy", text=["text"], labels=["no", "yes"], max_length=20)
TRAIN = Dataset.from_list([{"text": "a good film", "label": number % 2} for number in range(4)])
QUERIES = Dataset.from_list(
    [{"text": text, "label": 0} for text in ("dull", "a very long one, a very good one", "terribly")]
)
PROMPT = PromptConfig(
    name="mine",
    instruction="Say it, yes or no:\n",
    shot="{input}\n{answer}: {label}\n",
    query="{input}\n{answer}:",
    shots=2,
)


@pytest.fixture(params=words.LANGUAGE_MODELS)
def shown(request):
    """Survivors by region of ragged prompts, as a function of the profile and the score."""
    model = attach(words.LANGUAGE_MODELS[request.param]())
    twofold = model.config.is_encoder_decoder
    tokenizer = words.tokenizer(ends=twofold)
    prompts = Prompts(PROMPT, TASK, TRAIN, tokenizer, context=200, encoder_decoder=twofold)
    encoded = prompts.encode(QUERIES)
    outputs = LabelWords(prompts.answers)
    layers = len(model.get_encoder().block) if twofold else model.config.num_hidden_layers
    return lambda keep, score: survivors_by_region(
        model, tokenizer, encoded, Profile((keep,) * layers), outputs, score=score, batch_size=2
    )


def test_everyone_leaves_the_first_layer_of_a_full_profile(shown):
    found = shown(1.0, "acc")
    assert list(found.shares) == ["instruction", "shots", "query", "all"]
    assert all(share[0] == 1.0 for share in found.shares.values())


def test_the_first_positions_are_those_of_the_instruction(shown):
    found = shown(0.3, "position")
    assert found.shares["all"][0] == pytest.approx(0.3, abs=0.03)
    assert found.shares["instruction"][0] == 1.0
    assert found.shares["query"][0] < 0.2
