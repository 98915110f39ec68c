# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels from Python: `megafold.ops` where the wheel is installed, else a shared library.

The shared library is the kernels and entry.cpp, without torch (build.sh makes it). Set
MEGAFOLD_KERNELS to its path; the structures below mirror kernels/evo_attention/evo_attention.h field by field.
"""

import ctypes
import os

import torch

DTYPES = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3}
GPU = 1


class TokenStrides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "row", "token", "head")]

    @classmethod
    def of(cls, tensor):
        """Of a [B, R, N, H, D] tensor whose D is contiguous."""
        if tensor is None:
            return cls()
        batch, row, token, head, dim = tensor.stride()
        if dim != 1 and tensor.shape[-1] != 1:
            raise ValueError(f"D must be contiguous, its stride is {dim}")
        return cls(batch, row, token, head)


class Forward(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("batch", "rows", "heads", "queries", "keys", "head_dim")
        ),
        ("scale", ctypes.c_double),
        ("dtype", ctypes.c_uint8),
        ("place", ctypes.c_uint8),
        *((name, ctypes.c_void_p) for name in ("q", "k", "v")),
        *((name, TokenStrides) for name in ("q_stride", "k_stride", "v_stride")),
        ("bias", ctypes.c_void_p),
        ("bias_dtype", ctypes.c_uint8),
        *((name, ctypes.c_int64) for name in ("bias_batch", "bias_head", "bias_query", "bias_key")),
        *((name, ctypes.c_int64) for name in ("key_offset", "key_step", "key_total")),
        ("key_first", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("mask_batch", "mask_row", "mask_key")),
        ("gate", ctypes.c_void_p),
        ("gate_stride", TokenStrides),
        ("out", ctypes.c_void_p),
        ("out_stride", TokenStrides),
        ("lse", ctypes.c_void_p),
    ]


def pointer(tensor):
    return None if tensor is None else tensor.data_ptr()


def forward_params(q, k, v, bias, mask, gate, scale, out, lse, window=None):
    """`window`: None, or (key_offset, key_step, keys) of atom windows: k and v [1, R, A, H, D]."""
    batch, rows, queries, heads, dim = q.shape
    p = Forward()
    p.batch, p.rows, p.heads, p.queries, p.head_dim = batch, rows, heads, queries, dim
    p.keys = k.shape[2] if window is None else window[2]
    p.scale = dim**-0.5 if scale is None else scale
    p.dtype, p.place = DTYPES[q.dtype], GPU
    p.q, p.k, p.v, p.out = pointer(q), pointer(k), pointer(v), pointer(out)
    p.q_stride, p.k_stride, p.v_stride = (TokenStrides.of(x) for x in (q, k, v))
    p.out_stride, p.gate, p.gate_stride = TokenStrides.of(out), pointer(gate), TokenStrides.of(gate)
    p.lse = pointer(lse)
    if bias is not None:
        p.bias, p.bias_dtype = pointer(bias), DTYPES[bias.dtype]
        p.bias_batch, p.bias_head, p.bias_query, p.bias_key = bias.stride()
    if mask is not None:
        p.mask = pointer(mask)
        p.mask_batch, p.mask_row, p.mask_key = mask.stride()
    if window is not None:
        p.key_offset, p.key_step, p.key_total = window[0], window[1], k.shape[2]
    return p


class Kernels:
    """The shared library at `path` (default: $MEGAFOLD_KERNELS)."""

    def __init__(self, path=None):
        self.c = ctypes.CDLL(path or os.environ["MEGAFOLD_KERNELS"])
        self.c.megafold_bench_message.restype = ctypes.c_char_p
        self.c.evo_attention_forward_params_bytes.restype = ctypes.c_size_t
        self.c.evo_attention_forward_reasons.restype = ctypes.c_char_p
        self.c.evo_attention_forward_workspace.restype = ctypes.c_int64
        if self.c.evo_attention_forward_params_bytes() != ctypes.sizeof(Forward):
            raise RuntimeError("library.py's Forward is not evo_attention.h's EvoAttentionForward")

    def prepare_forward(self, params):
        """The workspace of a call; raises with the reasons where it is not supported."""
        reasons = self.c.evo_attention_forward_reasons(ctypes.byref(params)).decode()
        if reasons:
            raise ValueError("sm90a refuses: " + reasons)
        size = self.c.evo_attention_forward_workspace(ctypes.byref(params))
        return torch.empty(size, dtype=torch.uint8, device="cuda")

    def launch_forward(self, params, workspace):
        stream = torch.cuda.current_stream().cuda_stream
        if self.c.evo_attention_forward_launch(
            ctypes.byref(params), ctypes.c_void_p(workspace.data_ptr()), ctypes.c_void_p(stream)
        ):
            raise RuntimeError(self.c.megafold_bench_message().decode())

    def forward(self, q, k, v, bias=None, mask=None, gate=None, scale=None, window=None):
        """(out, lse) in fresh, contiguous tensors."""
        batch, rows, queries, heads, _ = q.shape
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        lse = torch.empty(batch, rows, heads, queries, dtype=torch.float32, device=q.device)
        params = forward_params(q, k, v, bias, mask, gate, scale, out, lse, window)
        self.launch_forward(params, self.prepare_forward(params))
        return out, lse
