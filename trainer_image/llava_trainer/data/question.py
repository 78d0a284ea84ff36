"""How a question is put to the model: written down as the first turn of a conversation was in training."""

from __future__ import annotations

from llava_trainer.data.conversation import IMAGE_TOKEN
from llava_trainer.data.sample import IMAGE
from llava_trainer.data.template import PromptTemplate
from llava_trainer.data.tokenizer import Tokenizer

__all__ = ["question_ids", "stop_ids"]


def question_ids(question: str, template: PromptTemplate, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Give a prompt's token ids; only its first `<image>` becomes IMAGE, later ones are text."""
    before, found, after = template.wrap(question).partition(IMAGE_TOKEN)
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    return (*bos, *tokenizer.encode(before), *([IMAGE] if found else []), *tokenizer.encode(after))


def stop_ids(template: PromptTemplate, tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that end an answer: EOS, the template's suffix and its stop words."""
    words = {tokenizer.token_id(piece) for piece in template.must_be_pieces}
    return frozenset(token for token in (*words, tokenizer.eos_id) if token is not None)
