"""Translation of text with a model from a directory.

    translator = heddle.Translator("model-directory")
    translator.translate(["The disk is full.", "Try again."], beam_size=4)
"""

from __future__ import annotations

import os
from typing import Iterable, Sequence, overload

from heddle import _core

__all__ = ["Translator"]


class Translator:
    """One model (or several that vote), its tokenizers and worker threads.

    model              directory or file of any format that Heddle reads; or a list of them, which
                       then must share a vocabulary
    threads            workers; 0: one a processor
    precision          "native" (as stored), "f32", "bf16" or "int8"
    shortlist          choose among the words that the model's lexical shortlist gives
    split_sentences    translate each sentence of a line alone
    source_language    where sentences end: "en", "de", …
    max_source_tokens  longer sentences are cut at good places and joined again

    A line gives the same translation whatever is translated beside it. Calls release the
    interpreter's lock, and several threads may call at once. What is refused raises ValueError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        threads: int = 0,
        precision: str = "native",
        shortlist: bool = False,
        split_sentences: bool = False,
        source_language: str = "",
        max_source_tokens: int = 256,
    ) -> None:
        if not hasattr(_core, "TranslatorCore"):
            raise RuntimeError(
                "heddle was built for masks and attention alone, without models; "
                "build the package with -C cmake.define.HEDDLE_ATTENTION_ONLY=OFF"
            )
        models = [model] if isinstance(model, (str, os.PathLike)) else list(model)
        self._core = _core.TranslatorCore(
            [os.fspath(path) for path in models],
            threads,
            precision,
            shortlist,
            split_sentences,
            source_language,
            max_source_tokens,
        )

    @property
    def threads(self) -> int:
        """How many workers translate."""
        return self._core.threads

    @overload
    def translate(self, text: str, **options) -> str: ...
    @overload
    def translate(self, text: Iterable[str], **options) -> list[str]: ...

    def translate(self, text, **options):
        """The translation of a line, or those of lines in their order.

        Options are those of `translate_detailed`, without n_best, scores and alignments. A line
        feed inside a line counts as a space: one line in gives one line out.
        """
        for name in ("n_best", "scores", "alignments"):
            if name in options:
                raise TypeError(f"translate: {name} needs translate_detailed")
        if isinstance(text, str):
            return self.translate_detailed([text], **options)[0].text
        return [translation.text for translation in self.translate_detailed(text, **options)]

    def translate_detailed(
        self,
        lines: Iterable[str],
        *,
        beam_size: int = 1,
        n_best: int = 1,
        length_penalty: float = 1.0,
        patience: float = 1.0,
        max_length_factor: float = 3.0,
        min_length: int = 0,
        sampling: bool = False,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        repetition_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
        prefixes: Sequence[str] | None = None,
        scores: bool = False,
        alignments: bool = False,
    ) -> list[_core.Translation]:
        """Translations with all that is known of them: .text and .variants, best first.

        beam_size, n_best     hypotheses kept (1: greedy) and returned
        length_penalty        a hypothesis scores sum(log p) / length ** length_penalty
        sampling              draw tokens, with temperature, top_k, top_p and seed
        prefixes              text that each translation begins with
        scores, alignments    fill .variants with .score, .token_scores and .alignment
        """
        if isinstance(lines, str):
            raise TypeError("translate_detailed: found a str; expected a list of lines")
        options = _core.TranslationOptions()
        options.beam_size = beam_size
        options.n_best = n_best
        options.length_penalty = length_penalty
        options.patience = patience
        options.max_length_factor = max_length_factor
        options.min_length = min_length
        options.scores = scores
        options.alignments = alignments
        options.repetition(repetition_penalty, no_repeat_ngram)
        if sampling:
            options.sample(temperature, top_k, top_p, seed)
        return self._core.translate(list(lines), options, list(prefixes or []))
