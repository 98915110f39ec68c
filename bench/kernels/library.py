# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels from Python, through ctypes.

The shared library is the kernels and entry.cpp, without torch (build.sh makes it). Set
MEGAFOLD_KERNELS to its path; the structures below mirror kernels/evo_attention/evo_attention.h.
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


class Backward(ctypes.Structure):
    _fields_ = [
        ("forward", Forward),
        ("dout", ctypes.c_void_p),
        ("dout_stride", TokenStrides),
        *((name, ctypes.c_void_p) for name in ("dq", "dk", "dv")),
        *((name, TokenStrides) for name in ("dq_stride", "dk_stride", "dv_stride")),
        ("dgate", ctypes.c_void_p),
        ("dgate_stride", TokenStrides),
        ("dbias", ctypes.c_void_p),
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


def backward_params(forward, dout, dq, dk, dv, dgate, dbias):
    p = Backward()
    p.forward = forward
    p.dout, p.dout_stride = pointer(dout), TokenStrides.of(dout)
    p.dq, p.dk, p.dv = pointer(dq), pointer(dk), pointer(dv)
    p.dq_stride, p.dk_stride, p.dv_stride = (TokenStrides.of(x) for x in (dq, dk, dv))
    p.dgate, p.dgate_stride, p.dbias = pointer(dgate), TokenStrides.of(dgate), pointer(dbias)
    return p


class Kernels:
    """The shared library at `path` (default: $MEGAFOLD_KERNELS)."""

    def __init__(self, path=None):
        self.c = ctypes.CDLL(path or os.environ["MEGAFOLD_KERNELS"])
        self.c.megafold_bench_message.restype = ctypes.c_char_p
        for name, params in (("forward", Forward), ("backward", Backward)):
            bytes_of = self.entry(name, "params_bytes")
            bytes_of.restype = ctypes.c_size_t
            if bytes_of() != ctypes.sizeof(params):
                raise RuntimeError(f"library.py's {params.__name__} is not evo_attention.h's")
            self.entry(name, "reasons").restype = ctypes.c_char_p
            self.entry(name, "workspace").restype = ctypes.c_int64

    def use_portable(self, on):
        """The portable kernels instead of Hopper's, or those again."""
        if not self.c.megafold_bench_portable(int(on)) and on:
            raise RuntimeError("the library holds no portable kernels: build.sh FOLDER portable")

    def entry(self, name, what):
        return getattr(self.c, f"evo_attention_{name}_{what}")

    def prepare(self, params):
        """The workspace of a call; raises with the reasons where it is not supported."""
        name = type(params).__name__.lower()
        reasons = self.entry(name, "reasons")(ctypes.byref(params)).decode()
        if reasons:
            raise ValueError(f"the kernel refuses the {name}: {reasons}")
        size = self.entry(name, "workspace")(ctypes.byref(params))
        return torch.empty(size, dtype=torch.uint8, device="cuda")

    def launch(self, params, workspace):
        name = type(params).__name__.lower()
        stream = torch.cuda.current_stream().cuda_stream
        if self.entry(name, "launch")(
            ctypes.byref(params), ctypes.c_void_p(workspace.data_ptr()), ctypes.c_void_p(stream)
        ):
            raise RuntimeError(self.c.megafold_bench_message().decode())

    def forward(self, q, k, v, bias=None, mask=None, gate=None, scale=None, window=None):
        """(out, lse, params), out and lse fresh and contiguous."""
        batch, rows, queries, heads, _ = q.shape
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        lse = torch.empty(batch, rows, heads, queries, dtype=torch.float32, device=q.device)
        params = forward_params(q, k, v, bias, mask, gate, scale, out, lse, window)
        self.launch(params, self.prepare(params))
        return out, lse, params

    def backward(self, params, dout, q, k, v, bias):
        """(dq, dk, dv, dbias) of a forward without a gate."""
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
        dbias = None if bias is None else torch.empty_like(bias)
        params = backward_params(params, dout, dq, dk, dv, None, dbias)
        self.launch(params, self.prepare(params))
        return dq, dk, dv, dbias
