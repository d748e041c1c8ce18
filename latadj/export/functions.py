"""The steps of a layer in ONNX's own operators, in its text form: attention, and who leaves.

Batches are padded: every text has as many rows as the longest has tokens, its own first. A row beyond a text's own
tokens repeats its first one, so that it computes what that does and may be put back at the same place.
"""

import onnx
from onnx import parser

from latadj.export.operators import DOMAIN
from latadj.export.score_functions import SCORES, SHARED

# From here on attention is one operator, which runtimes run as one kernel.
ATTENTION_OPSET = 23
# What runtimes of today read, and torch's exporter writes.
OPSETS = (21, 22, 23)
# The fastest of them by the format of the graphs. OpenVINO splits attention as one operator into products with a guard
# against rows that see nothing.
FASTEST = {"onnx": ATTENTION_OPSET, "openvino": 21}

# A mask has a row for each query, since onnxruntime expands none itself. Probabilities get their shape anew: ONNX's own
# shape inference says that there are 0 keys where it does not know the number, and runtimes believe it.
_AT_ONCE = """
attend <heads, scale> (query, key, value, bias) => (context) {
  second = Constant <value_ints: ints = [1]> ()
  queries = Shape <start: int = 1, end: int = 2> (query)
  rows = Concat <axis: int = 0> (second, second, queries, second)
  mask = Expand (bias, rows)
  context = Attention <q_num_heads: int = @heads, kv_num_heads: int = @heads, scale: float = @scale>
    (query, key, value, mask)
}
attend_scored <heads, scale> (query, key, value, bias) => (context, scores) {
  second = Constant <value_ints: ints = [1]> ()
  queries = Shape <start: int = 1, end: int = 2> (query)
  rows = Concat <axis: int = 0> (second, second, queries, second)
  mask = Expand (bias, rows)
  context, same_keys, same_values, unshaped = Attention
    <q_num_heads: int = @heads, kv_num_heads: int = @heads, scale: float = @scale, qk_matmul_output_mode: int = 3>
    (query, key, value, mask)
  batch = Shape <start: int = 0, end: int = 1> (query)
  number = Constant <value_int: int = @heads> ()
  numbers = Reshape (number, second)
  keys = Shape <start: int = 3, end: int = 4> (bias)
  by_head = Concat <axis: int = 0> (batch, numbers, queries, keys)
  probs = Reshape (unshaped, by_head)
  scores = latadj.score <heads: int = @heads> (probs, value, bias)
}
"""

_BY_PRODUCTS = """
by_heads <heads> (states) => (split) {
  second = Constant <value_ints: ints = [1]> ()
  same = Constant <value_ints: ints = [0, 0]> ()
  rest = Constant <value_ints: ints = [-1]> ()
  number = Constant <value_int: int = @heads> ()
  numbers = Reshape (number, second)
  shape = Concat <axis: int = 0> (same, numbers, rest)
  split = Reshape (states, shape)
}
attend_by_products <heads, scale> (query, key, value, bias) => (context, probs) {
  factor = Constant <value_float: float = @scale> ()
  split_queries = latadj.by_heads <heads: int = @heads> (query)
  queries = Transpose <perm: ints = [0, 2, 1, 3]> (split_queries)
  split_keys = latadj.by_heads <heads: int = @heads> (key)
  keys = Transpose <perm: ints = [0, 2, 3, 1]> (split_keys)
  split_values = latadj.by_heads <heads: int = @heads> (value)
  values = Transpose <perm: ints = [0, 2, 1, 3]> (split_values)
  scaled = Mul (queries, factor)
  products = MatMul (scaled, keys)
  masked = Add (products, bias)
  probs = Softmax <axis: int = -1> (masked)
  contexts = MatMul (probs, values)
  split = Transpose <perm: ints = [0, 2, 1, 3]> (contexts)
  joined = Constant <value_ints: ints = [0, 0, -1]> ()
  context = Reshape (split, joined)
}
attend <heads, scale> (query, key, value, bias) => (context) {
  context, probs = latadj.attend_by_products <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
}
attend_scored <heads, scale> (query, key, value, bias) => (context, scores) {
  context, probs = latadj.attend_by_products <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
  scores = latadj.score <heads: int = @heads> (probs, value, bias)
}
"""

_CHOICE = """
choose (scores, bias, leaving) => (places, left_bias) {
  zero = Constant <value_int: int = 0> ()
  one = Constant <value_int: int = 1> ()
  second = Constant <value_ints: ints = [1]> ()
  nothing = Constant <value_float: float = 0.0> ()
  lowest = Constant <value_float: float = -3.4028234663852886e38> ()
  highest = Constant <value_float: float = 3.4028234663852886e38> ()
  middle = Constant <value_ints: ints = [1, 2]> ()
  flat_bias = Squeeze (bias, middle)
  real_scores = Add (scores, flat_bias)
  widths = Shape <start: int = 3, end: int = 4> (bias)
  width = Squeeze (widths)
  columns = Range (zero, width, one)
  is_first = Equal (columns, zero)
  ranked = Where (is_first, highest, real_scores)
  most = ReduceMax <keepdims: int = 0> (leaving)
  mosts = Reshape (most, second)
  best_scores, best = TopK <axis: int = 1, largest: int = 1, sorted: int = 1> (ranked, mosts)
  rows = Range (zero, most, one)
  counts = Unsqueeze (leaving, second)
  own = Less (rows, counts)
  own_best = Where (own, best, widths)
  ordered, order = TopK <axis: int = 1, largest: int = 0, sorted: int = 1> (own_best, mosts)
  places = Where (own, ordered, zero)
  own_bias = Where (own, nothing, lowest)
  left_bias = Unsqueeze (own_bias, middle)
}
pick (states, places) => (picked) {
  third = Constant <value_ints: ints = [2]> ()
  indices = Unsqueeze (places, third)
  picked = GatherND <batch_dims: int = 1> (states, indices)
}
put_back (everyone, places, states) => (restored) {
  zero = Constant <value_int: int = 0> ()
  one = Constant <value_int: int = 1> ()
  second = Constant <value_ints: ints = [1]> ()
  rest = Constant <value_ints: ints = [-1]> ()
  column = Constant <value_ints: ints = [-1, 1]> ()
  shape = Shape (everyone)
  batch = Gather (shape, zero)
  length = Gather (shape, one)
  texts = Range (zero, batch, one)
  starts = Mul (texts, length)
  starts_by_text = Unsqueeze (starts, second)
  rows = Add (places, starts_by_text)
  indices = Reshape (rows, column)
  features = Shape <start: int = 2, end: int = 3> (everyone)
  flat = Concat <axis: int = 0> (rest, features)
  flat_everyone = Reshape (everyone, flat)
  flat_states = Reshape (states, flat)
  flat_restored = ScatterND (flat_everyone, indices, flat_states)
  restored = Reshape (flat_restored, shape)
}
leave_all (attended, everyone, places, bias, scores, leaving) => (left, restored, left_places, left_bias) {
  third = Constant <value_ints: ints = [2]> ()
  restored = latadj.put_back (everyone, places, attended)
  chosen, left_bias = latadj.choose (scores, bias, leaving)
  left = latadj.pick (attended, chosen)
  left_places = GatherElements <axis: int = 1> (places, chosen)
}
attend_and_leave_all <heads, scale> (query, key, value, bias, hidden, leaving) => (left, left_hidden, left_bias) {
  context, scores = latadj.attend_scored <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
  chosen, left_bias = latadj.choose (scores, bias, leaving)
  left = latadj.pick (context, chosen)
  left_hidden = latadj.pick (hidden, chosen)
}
"""

# Where one profile is fixed, its layers let tokens go in every batch of texts that are not very short.
_ALWAYS = """
attend_and_leave <heads, scale> (query, key, value, bias, hidden, leaving, falls) => (left, left_hidden, left_bias) {
  left, left_hidden, left_bias = latadj.attend_and_leave_all <heads: int = @heads, scale: float = @scale>
    (query, key, value, bias, hidden, leaving)
}
attend_and_score <heads, scale> (query, key, value, bias, falls) => (context, scores) {
  context, scores = latadj.attend_scored <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
}
leave (attended, everyone, places, bias, scores, leaving, falls) => (left, restored, left_places, left_bias) {
  left, restored, left_places, left_bias = latadj.leave_all (attended, everyone, places, bias, scores, leaving)
}
"""

# Else a batch that loses no token in a layer takes plain attention.
_IF_ANY = """
attend_and_leave <heads, scale> (query, key, value, bias, hidden, leaving, falls) => (left, left_hidden, left_bias) {
  left, left_hidden, left_bias = If (falls) <
    then_branch = falling () => (float[?, ?, ?] a, float[?, ?, ?] h, float[?, ?, ?, ?] s) {
      a, h, s = latadj.attend_and_leave_all <heads: int = @heads, scale: float = @scale>
        (query, key, value, bias, hidden, leaving)
    },
    else_branch = staying () => (float[?, ?, ?] a_, float[?, ?, ?] h_, float[?, ?, ?, ?] s_) {
      a_ = latadj.attend <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
      h_ = Identity (hidden)
      s_ = Identity (bias)
    }
  >
}
attend_and_score <heads, scale> (query, key, value, bias, falls) => (context, scores) {
  context, scores = If (falls) <
    then_branch = falling () => (float[?, ?, ?] c, float[?, ?] s) {
      c, s = latadj.attend_scored <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
    },
    else_branch = staying () => (float[?, ?, ?] c_, float[?, ?] s_) {
      c_ = latadj.attend <heads: int = @heads, scale: float = @scale> (query, key, value, bias)
      middle = Constant <value_ints: ints = [1, 2]> ()
      s_ = Squeeze (bias, middle)
    }
  >
}
leave (attended, everyone, places, bias, scores, leaving, falls) => (left, restored, left_places, left_bias) {
  left, restored, left_places, left_bias = If (falls) <
    then_branch = falling () => (float[?, ?, ?] a, float[?, ?, ?] e, int64[?, ?] p, float[?, ?, ?, ?] s) {
      a, e, p, s = latadj.leave_all (attended, everyone, places, bias, scores, leaving)
    },
    else_branch = staying () => (float[?, ?, ?] a_, float[?, ?, ?] e_, int64[?, ?] p_, float[?, ?, ?, ?] s_) {
      a_ = Identity (attended)
      e_ = Identity (everyone)
      p_ = Identity (places)
      s_ = Identity (bias)
    }
  >
}
"""


def functions(opset: int, score: str, always: bool) -> list[onnx.FunctionProto]:
    """What the operators of :mod:`latadj.export.operators` are.

    Parameters
    ----------
    opset : one of ``OPSETS``
    score : a key of ``latadj.export.score_functions.SCORES``
    always : whether layers that may let tokens go do so in every batch
    """
    attention = _AT_ONCE if opset >= ATTENTION_OPSET else _BY_PRODUCTS
    text = "\n".join([attention, SHARED, SCORES[score], _CHOICE, _ALWAYS if always else _IF_ANY])
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>\n'
    bodies = text.split("\n}\n")
    return [parser.parse_function(head + body + "\n}") for body in bodies if body.strip()]
