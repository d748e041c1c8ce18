"""Which instructions of this CPU decide how fast a number format is."""

import torch


def vnni() -> bool:
    """Whether this CPU adds products of 8-bit numbers without overflow."""
    return _cpu_has("_is_vnni_supported", "_is_amx_tile_supported")


def computes_bf16() -> bool:
    """Whether this CPU has bf16 instructions; without them bf16 is emulated, several times slower than fp32."""
    return _cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def packs_bf16() -> bool:
    """Whether oneDNN lays out bf16 weights for this CPU, which takes AVX-512 or its like; without it it refuses."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _cpu_has(*probes: str) -> bool:
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
