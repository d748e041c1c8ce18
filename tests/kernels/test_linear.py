"""A packed linear layer computes what the modules compute that it was made of."""

import pytest
import torch
from helpers.kernel_support import needs
from transformers.pytorch_utils import Conv1D

from latadj.elimination.kernel_rows import MANY_ROWS
from latadj.kernels import int8_linear
from latadj.kernels.int8_linear import COMPARED_ROWS, few_rows
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowered_layers import AddNorm, PostNormLayer, QKVLinear

EXACT = [KernelSpec("fp32", "plain"), KernelSpec("fp32", "onednn")]
BF16 = [KernelSpec("bf16", "plain"), KernelSpec("bf16", "onednn")]
INT8 = [KernelSpec("int8", "onednn"), KernelSpec("int8", "x86")]
# How far a rounded output may lie from the exact one, as a share of the largest.
NEAR = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.05}


def name(spec):
    return f"{spec.precision}-{spec.kernel}"


@pytest.fixture(params=[*EXACT, *BF16, *INT8], ids=name)
def spec(request):
    needs(request.param.precision, request.param.kernel)
    return request.param


def packed_and_exact(spec, *parts, rows):
    """Outputs of the parts packed as one, and of the parts."""
    with torch.no_grad():
        exact = torch.cat([part(rows) for part in parts], dim=1)
        if spec.precision == "bf16":
            parts, rows = [part.bfloat16() for part in parts], rows.bfloat16()
        return spec.pack(*parts)(rows).float(), exact


def assert_near(found, exact, spec):
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < NEAR[spec.precision] * exact.abs().max()


@pytest.mark.parametrize("count", [1, 7, 50, MANY_ROWS, MANY_ROWS + 1, 77, 512, 700])
def test_layers_of_one_input_run_as_one(spec, count):
    torch.manual_seed(0)
    parts = [torch.nn.Linear(32, 16), torch.nn.Linear(32, 24)]
    assert_near(*packed_and_exact(spec, *parts, rows=torch.randn(count, 32)), spec)


@pytest.mark.parametrize("count", [1, MANY_ROWS, MANY_ROWS + 1, 77, 128, 700])
def test_a_block_that_is_padded_once_gives_the_rows_that_it_was_given(spec, count):
    torch.manual_seed(0)
    inner, outer, norm = torch.nn.Linear(32, 128), torch.nn.Linear(128, 32), torch.nn.LayerNorm(32)
    rows = torch.randn(count, 32)
    with torch.no_grad():
        exact = norm(outer(torch.nn.functional.gelu(inner(rows))) + rows)
        if spec.precision == "bf16":
            inner, outer, norm, rows = (part.bfloat16() for part in (inner, outer, norm, rows))
        fused = "GELUActivation" if spec.fuses("GELUActivation") else None
        block = PostNormLayer(
            *(None, None, spec.pack(inner, activation=fused)),
            torch.nn.Identity() if fused else torch.nn.GELU(),
            AddNorm(spec.pack(outer), norm),
        )
        assert_near(block.feed_forward(rows).float(), exact, spec)


@pytest.mark.parametrize("count", [1, 50, 77])
def test_weights_that_are_kept_the_other_way_round_are_packed_alike(spec, count):
    torch.manual_seed(0)
    parts = [Conv1D(16, 32), Conv1D(24, 32)]
    assert_near(*packed_and_exact(spec, *parts, rows=torch.randn(count, 32)), spec)


@pytest.mark.parametrize("activation", [None, "GELUActivation", "NewGELUActivation"])
@pytest.mark.parametrize("spec", INT8[:1], indirect=True, ids=name)
def test_int8_gives_the_same_for_few_rows_as_for_many(spec, activation):
    torch.manual_seed(0)
    packed = spec.pack(torch.nn.Linear(32, 48), activation=activation)
    rows = torch.randn(24, 32)
    few, many = packed.by_few(rows), packed.by_onednn(rows)
    assert (few.dtype, few.shape) == (many.dtype, many.shape)
    assert torch.allclose(few, many, atol=0.01 * many.abs().max().item())


@pytest.mark.parametrize(("faster_up_to", "expected"), [(0, 0), (8, 8), (20, 16), (100, 40)])
def test_the_engine_for_few_rows_is_the_one_that_was_measured_faster(monkeypatch, faster_up_to, expected):
    def remembered(work, device, names, make):
        assert set(names) == {f"{engine}, {count} rows" for engine in ("x86", "onednn") for count in COMPARED_ROWS}
        rows = {name: int(name.split()[1]) for name in names}
        return {name: 1.0 if name.startswith("x86") == (rows[name] <= faster_up_to) else 2.0 for name in names}

    monkeypatch.setattr(int8_linear, "remembered", remembered)
    assert few_rows.__wrapped__() == expected


@pytest.mark.parametrize("spec", INT8[:1], indirect=True, ids=name)
@pytest.mark.parametrize(("few", "engine"), [(0, "by_onednn"), (5, "by_few")])
def test_the_rows_of_a_call_choose_the_engine(monkeypatch, spec, few, engine):
    packed, rows = spec.pack(torch.nn.Linear(32, 48)), torch.randn(5, 32)
    monkeypatch.setattr(int8_linear, "few_rows", lambda: few)
    assert torch.equal(packed(rows), getattr(packed, engine)(rows))


@pytest.mark.parametrize(
    "rows",
    [torch.tensor([[-2.0, 3.0]]), torch.tensor([[1.0, 3.0]]), torch.tensor([[-3.0, -1.0]]), torch.zeros(1, 2)],
    ids=["both", "positive", "negative", "zeros"],
)
def test_rows_in_bytes_are_what_pytorch_makes_of_them(rows):
    plain, scale, zero = int8_linear._quantised_rows(rows)
    own = torch.quantize_per_tensor_dynamic(rows, torch.quint8, False)
    assert torch.equal((plain.int() - zero) * scale, own.dequantize())


@pytest.mark.parametrize("spec", INT8[:1], indirect=True, ids=name)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_numbers_that_no_byte_can_hold_are_refused(spec, number):
    rows = torch.zeros(50, 32)
    rows[3, 4] = number
    with pytest.raises(ValueError, match="not finite: serve this model in fp32 or bf16"):
        spec.pack(torch.nn.Linear(32, 16))(rows)


@pytest.mark.parametrize("spec", INT8, indirect=True, ids=name)
def test_sums_of_the_largest_products_do_not_overflow(spec):
    part = torch.nn.Linear(64, 16)
    torch.nn.init.ones_(part.weight)
    rows = torch.ones(50, 64)
    rows[0] = 0  # so that the others are the largest of 8 bits
    assert_near(*packed_and_exact(spec, part, rows=rows), spec)


@pytest.mark.parametrize("spec", INT8[1:], indirect=True, ids=name)
def test_no_two_neighbours_overflow_where_the_processor_might(monkeypatch, spec):
    torch.manual_seed(0)
    part, rows, found = torch.nn.Linear(33, 48), torch.randn(50, 33), {}
    for has in (False, True):
        monkeypatch.setattr("latadj.kernels.int8_linear.vnni", lambda has=has: has)
        weight = torch.ops.quantized.linear_unpack(spec.pack(part).packed)[0].int_repr().int()
        two = torch.nn.functional.pad(weight, (0, 1)).unflatten(1, (-1, 2))
        found[has] = 255 * max(int(two.clamp(min=0).sum(2).max()), int((-two).clamp(min=0).sum(2).max()))
    assert found[False] < 1 << 15 < found[True]
    monkeypatch.setattr("latadj.kernels.int8_linear.vnni", lambda: False)
    assert_near(*packed_and_exact(spec, part, rows=rows), spec)


@pytest.mark.parametrize("spec", INT8, indirect=True, ids=name)
def test_int8_layers_give_the_type_that_is_asked_for(spec):
    packed = spec.pack(torch.nn.Linear(32, 48))
    for count in (1, max(COMPARED_ROWS) + 1):
        rows = torch.randn(count, 32)
        assert packed(rows, torch.bfloat16).dtype == torch.bfloat16
        assert packed(rows).dtype == packed(rows.bfloat16()).dtype == torch.float32
        assert torch.allclose(packed(rows, torch.bfloat16).float(), packed(rows), atol=0.05)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("count", [3, 50, 77])
@pytest.mark.parametrize("spec", INT8, indirect=True, ids=name)
def test_a_large_row_does_not_round_the_others_away(spec, count, bias):
    torch.manual_seed(0)
    part, rows = torch.nn.Linear(32, 16, bias=bias), torch.randn(count, 32)
    rows[1] *= 1000
    rows[2] = 0
    with torch.no_grad():
        exact = part(rows)
        levelled, together = spec.pack(part, uneven=True)(rows), spec.pack(part)(rows)
    for row in range(count):
        assert (levelled[row] - exact[row]).abs().max() < 0.03 * exact[row].abs().max().clamp(min=0.1)
    assert (together[0] - exact[0]).abs().max() > 0.1 * exact[0].abs().max()


@pytest.mark.parametrize("separate", [False, True])
def test_modules_that_share_a_layer_answer_for_their_own_input(separate):
    torch.manual_seed(0)
    modules = [torch.nn.Linear(32, size) for size in (16, 8, 8)]
    states = QKVLinear(KernelSpec("fp32", "plain"), *modules, separate_query=separate)
    query, key, value = states.modules()
    first, second = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    with torch.no_grad():
        asked = [(query, 0, first), (key, 1, first), (value, 2, first), (key, 1, second), (key, 1, second)]
        asked += [(query, 0, first), (value, 2, second), (query, 0, second), (value, 2, first[:, -1:])]
        for part, index, rows in asked:
            assert torch.allclose(part(rows), modules[index](rows), atol=1e-6)
