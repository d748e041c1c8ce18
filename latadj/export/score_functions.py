"""Scores of tokens in ONNX's own operators, in its text form: those of :mod:`latadj.elimination.scores`."""

# Name of the product that sums up what each token receives.
SUMS = "sums"
# Which tokens are no fillers, (batch, 1, 1, n), and what each token receives from those, (batch, heads, n).
_RECEIVED = """
real (bias) => (real) {
  nothing = Constant <value_float: float = 0.0> ()
  is_real = Equal (bias, nothing)
  real = Cast <to: int = 1> (is_real)
}
received (probs, bias) => (received) {
  third = Constant <value_ints: ints = [2]> ()
  real = latadj.real (bias)
  sums = MatMul (real, probs)
  received = Squeeze (sums, third)
}
"""

# How much each token contributes, as latadj.elimination.scores.acc, (batch, n).
_CONTRIBUTIONS = """
contributions <heads> (probs, value, bias) => (contributions) {
  second = Constant <value_ints: ints = [1]> ()
  fourth = Constant <value_ints: ints = [3]> ()
  same = Shape <start: int = 0, end: int = 2> (value)
  rest = Constant <value_ints: ints = [-1]> ()
  number = Constant <value_int: int = @heads> ()
  numbers = Reshape (number, second)
  shape = Concat <axis: int = 0> (same, numbers, rest)
  values = Reshape (value, shape)
  norms = ReduceL2 <keepdims: int = 0> (values, fourth)
  norms_by_head = Transpose <perm: ints = [0, 2, 1]> (norms)
  received = latadj.received (probs, bias)
  by_head = Mul (received, norms_by_head)
  contributions = ReduceSum <keepdims: int = 0> (by_head, second)
}
"""

# Places among the real tokens, from 1, (batch, n).
_PLACES = """
places_of (bias) => (places) {
  last = Constant <value_int: int = -1> ()
  middle = Constant <value_ints: ints = [1, 2]> ()
  real = latadj.real (bias)
  real_by_text = Squeeze (real, middle)
  places = CumSum (real_by_text, last)
}
"""

# A function for each score of latadj.elimination.scores that a graph can have.
SCORES = {
    "acc": """
score <heads> (probs, value, bias) => (scores) {
  scores = latadj.contributions <heads: int = @heads> (probs, value, bias)
}
""",
    "attention": """
score <heads> (probs, value, bias) => (scores) {
  second = Constant <value_ints: ints = [1]> ()
  received = latadj.received (probs, bias)
  scores = ReduceSum <keepdims: int = 0> (received, second)
}
""",
    "lead_biased_acc": """
score <heads> (probs, value, bias) => (scores) {
  contributions = latadj.contributions <heads: int = @heads> (probs, value, bias)
  places = latadj.places_of (bias)
  scores = Div (contributions, places)
}
""",
    "position": """
score <heads> (probs, value, bias) => (scores) {
  places = latadj.places_of (bias)
  scores = Reciprocal (places)
}
""",
    "recent": """
score <heads> (probs, value, bias) => (scores) {
  scores = latadj.places_of (bias)
}
""",
}

# What those call.
SHARED = _RECEIVED + _CONTRIBUTIONS + _PLACES
