"""Answers that are cut out of a text: reading SQuAD, windows over long texts, decoding, scores."""
