"""Small faults, each of which the suite has to notice: a line of the package, and what stands there instead."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A fault that one could make while editing.

    name : what goes wrong
    line : text that stands in the package exactly once
    wrong : what replaces it
    tests : where it should be noticed first; the whole suite is not run
    """

    name: str
    line: str
    wrong: str
    tests: tuple[str, ...]


E, K, B = "tests/elimination", "tests/kernels", "tests/benchmark"
# The quickest to notice come first.
COUNTS = (f"{E}/test_profiles.py", f"{E}/test_latency_model.py", E, "tests/calibration")
ELIMINATION = (f"{E}/test_scores.py", f"{E}/test_encoders.py", f"{E}/test_exactness.py", E)
DECODERS = (f"{E}/test_decoders.py", f"{E}/test_attention.py", f"{E}/test_generate.py", E)
KERNELS = (f"{K}/test_linear.py", K, f"{E}/test_exactness.py")
BENCHMARK = (f"{B}/test_timer.py", f"{B}/test_noise.py", f"{B}/test_energy.py", B, "tests/commands/test_bench.py")

FAULTS = (
    # elimination: who stays, and how many
    Fault("tokens are rounded down", "np.ceil(counts - 1e-6)", "np.floor(counts + 1e-6)", COUNTS),
    Fault("a ratio's rounding error keeps one token more", "np.ceil(counts - 1e-6)", "np.ceil(counts)", COUNTS),
    Fault(
        "a layer may keep nobody",
        "np.maximum(np.ceil(counts - 1e-6).astype(np.int64), at_least)",
        "np.ceil(counts - 1e-6).astype(np.int64)",
        COUNTS,
    ),
    Fault(
        "short texts are cut like long ones",
        "np.minimum(np.maximum(falling, least), lengths))",
        "np.minimum(least, lengths))",
        COUNTS,
    ),
    Fault(
        "long texts are spared as much as short ones",
        "falling = self.short_length - (1 - LEAST_SPARED) * (lengths - self.short_length)",
        "falling = self.short_length + 0 * lengths",
        COUNTS,
    ),
    Fault(
        "past the last searched profile short texts stay spared",
        "return short * math.exp(min(0.0, knots[-1] - strength)), whole",
        "return short, whole",
        COUNTS,
    ),
    Fault(
        "a text as short as the longest that is spared whole is cut",
        "return np.asarray(lengths) <= self.whole_length",
        "return np.asarray(lengths) < self.whole_length",
        COUNTS,
    ),
    Fault("a protected token counts for nothing", "np.minimum(protected, lengths))", "0)", COUNTS),
    Fault("survivors lose their order", "rows = order.sort(dim=1).values", "rows = order", ELIMINATION),
    Fault(
        "padding is chosen", "masked_fill_(~self.real, -torch.inf)", "masked_fill_(self.real, -torch.inf)", ELIMINATION
    ),
    Fault(
        "the best of unequal sequences are not the best",
        "sorted=stays.ragged",
        "sorted=False",
        ELIMINATION,
    ),
    Fault(
        "survivors of a second cut are looked up in the input",
        "origin = survivors if self.origin is None else self.origin.index_select(0, survivors)",
        "origin = survivors",
        ELIMINATION,
    ),
    Fault("positions are counted in the frame", "self.origin % self.length", "self.origin % self.width", ELIMINATION),
    Fault(
        "relative distances change their sign",
        "places[:, None, :] - places[:, :queries, None]",
        "places[:, :queries, None] - places[:, None, :]",
        ELIMINATION,
    ),
    Fault("the pooled token of an encoder may go", "scores[:, 0] = torch.inf", "scores[:, 0] = 0.0", ELIMINATION),
    Fault("the last prompt token may go", "places >= ends - 1, torch.inf", "places >= ends, torch.inf", DECODERS),
    Fault(
        "one sink too few",
        "sinks = min(window.sink_tokens, entering)",
        "sinks = min(window.sink_tokens - 1, entering)",
        DECODERS,
    ),
    Fault(
        "a continuation is eliminated",
        "self._prompts[layer + 1] + self._after",
        "self._prompts[layer + 1]",
        DECODERS,
    ),
    Fault("scores are not divided by who sees a token", "raw / visible.clamp(min=1)", "raw", ELIMINATION),
    Fault(
        "ACC forgets the values", "(received * norms).sum(dim=1), visible", "received.sum(dim=1), visible", ELIMINATION
    ),
    Fault("a lead bias counts fillers", "(real > 0).cumsum", "(real >= 0).cumsum", ELIMINATION),
    Fault("smoothing averages fillers", "/ pooled(present).clamp(min=1e-20)", "", DECODERS),
    Fault("the window sees too much", "places.maximum(ends - size)", "places", DECODERS),
    Fault(
        "padding asks, too",
        "if real_queries is None:\n        return probs.sum",
        "if True:\n        return probs.sum",
        ELIMINATION,
    ),
    Fault(
        "a query of the window misses its own key",
        "unseen = places > columns",
        "unseen = places >= columns",
        DECODERS,
    ),
    Fault("a query sees the next token", "-torch.inf).triu(1)", "-torch.inf).triu(2)", DECODERS),
    Fault("unequal windows pass for equal ones", "bool(observed[:, first:after].all())", "True", DECODERS),
    Fault(
        "an eliminated token keeps the state from before the layer",
        "everyone = _put_back(everyone, entering, attended)",
        "everyone = _put_back(everyone, entering, rows)",
        ELIMINATION,
    ),
    Fault(
        "hidden states of the first pass are replaced",
        "        if self.hidden is None:\n            self.hidden = hidden",
        "        self.hidden = hidden",
        ELIMINATION,
    ),
    Fault("a mask of another layer is used again", "None if alike else index)", "None)", DECODERS),
    Fault("a window sees one position more", "keys] >= self.reach", "keys] > self.reach", DECODERS),
    Fault(
        "a decoded token sees one position more",
        "positions[:, None] < reach)",
        "positions[:, None] <= reach)",
        DECODERS,
    ),
    Fault(
        "the last token of a text sees one position more",
        "last - self.positions < self.reach",
        "last - self.positions <= self.reach",
        ELIMINATION,
    ),
    Fault("a window counts survivors", "framed.masked_fill(~self.real, self.length)", "framed", DECODERS),
    Fault("decoded tokens are counted by calls", "self.decoded += key_states.shape[-2]", "self.decoded += 1", DECODERS),
    Fault("a speedup outlives its block", "_overrides.reset(token)", "pass", ELIMINATION),
    Fault("top-k keeps a tie too few", "tied.cumsum(dim=-1) > room", "tied.cumsum(dim=-1) >= room", ELIMINATION),
    Fault(
        "causal products counted without the diagonal", "(2 * n_in - seen + 1) / 2", "(2 * n_in - seen - 1) / 2", COUNTS
    ),
    Fault(
        "a restored token's output layer is free",
        "projected = n_in if reads == ALL else n_out",
        "projected = n_out",
        COUNTS,
    ),
    Fault("choosing costs where nobody goes", "np.where(n_out < n_in,", "np.where(n_out <= n_in,", COUNTS),
    Fault("time ends at the last knot", "np.clip(counts - knots[-1], 0, None) * slope", "0 * slope", COUNTS),
    Fault(
        "a dial falls short of its target",
        "            high = middle\n    return high",
        "            high = middle\n    return low",
        COUNTS,
    ),
    Fault(
        "a search's last profile ends the dial",
        "np.exp(ratios[-1] - (strength - knots[-1]))",
        "np.exp(ratios[-1])",
        COUNTS,
    ),
    Fault("steps cut one layer early", "// every + 1) * every", "// every) * every + 1", COUNTS),
    # kernels
    Fault("rows stay at one size", "self.unbiased(rows / size).mul_(size)", "self.unbiased(rows / size)", KERNELS),
    Fault(
        "an empty layer forgets its bias",
        "return zeros if self.bias is None else zeros.add_(self.bias)",
        "return zeros",
        KERNELS,
    ),
    Fault(
        "outputs of an earlier input are given",
        'waiting.get("states") is not states or index not in waiting["outputs"]',
        'index not in waiting.get("outputs", {})',
        KERNELS,
    ),
    Fault("int8 uses half of its range", "weight.abs().amax(dim=1) / 127", "weight.abs().amax(dim=1) / 63", KERNELS),
    Fault(
        "GPT-2's activation is the exact one",
        '"NewGELUActivation": ("gelu", "tanh")',
        '"NewGELUActivation": ("gelu", "none")',
        KERNELS,
    ),
    Fault(
        "few rows lose their activation", 'return states if kind == "none" else', "return states if True else", KERNELS
    ),
    Fault("negative neighbours may overflow", ".maximum((-two).clamp(min=0).sum(dim=2))", "", KERNELS),
    Fault(
        "the pooled query is of every row",
        "self.query(rows if query_rows is None else query_rows, dtype)",
        "self.query(rows, dtype)",
        KERNELS,
    ),
    Fault("a norm with another epsilon", "eps=epsilon", "eps=1e-3", KERNELS),
    # benchmark
    Fault(
        "nobody changes places",
        "for place in order.permutation(len(names)):",
        "for place in range(len(names)):",
        BENCHMARK,
    ),
    Fault("warm-up counts", "seconds = np.array(counted)", "seconds = np.array(warm + counted)", BENCHMARK),
    Fault(
        "speedup upside down",
        "ratios = baseline.sum(axis=1) / ours.sum(axis=1)",
        "ratios = ours.sum(axis=1) / baseline.sum(axis=1)",
        BENCHMARK,
    ),
    Fault("a 90% interval", "np.median(draws, axis=1), [2.5, 97.5]", "np.median(draws, axis=1), [5, 95]", BENCHMARK),
    Fault("preparing is timed", "watch.time(_runnable(work))", "watch.time(lambda: _runnable(work)())", BENCHMARK),
    Fault(
        "our own work counts as noise",
        "others = busy - (self._end.ours - self._start.ours)",
        "others = busy",
        BENCHMARK,
    ),
    Fault("kilobytes pass for bytes", "int(line.split()[1]) * 1024", "int(line.split()[1])", BENCHMARK),
    Fault("energy of all runs", "return energy / repeats", "return energy", BENCHMARK),
    Fault(
        "half of a cache",
        "for part in _parts(cache)\n        for layer in part.layers\n        for tensor in (layer.keys, layer.values)",
        "for part in _parts(cache)\n        for layer in part.layers\n        for tensor in (layer.keys,)",
        BENCHMARK,
    ),
    Fault("the rest of a pass is all of it", "total - each.sum()", "total", BENCHMARK),
    Fault("one prompt's tokens for all", "self.steps * seconds.shape[1]", "self.steps", BENCHMARK),
    Fault(
        "an inexact kernel may win",
        "torch.allclose(run(lowered, *part), want, atol=EQUAL)",
        "torch.allclose(run(lowered, *part), want, atol=1e9)",
        BENCHMARK,
    ),
)
