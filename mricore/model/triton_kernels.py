"""Attention kernels in Triton (docs/decisions/0013-gpu-step.md): softmax(scale q k^T + t c^T) v.

The second product is the bias of relative positions: ``t`` (towards) says what each query adds for each row
and column of the grid, ``c`` (codes) which row and column each key is in. A library's kernel would have to be
given both appended to queries and keys, and values padded to the same width: three copies of all tensors.

Queries, keys and values are read where the projection wrote them, (B, N, 3, H, D); gradients are written the
same way. Rows of a block beyond N, channels beyond D and places beyond E are masked. Logits, sums and
softmax are in float32. Products of float32 take three passes of the tensor cores (tf32x3), which is as exact;
plain loops take minutes to compile for wide heads. Products of bfloat16 are what they are.
"""

# Triton's language is neither typed nor executed by Python: pointers and blocks have no annotations
# mypy: ignore-errors
# ruff: noqa: N803

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _rows_of(pointer, rows, stride, WIDTH, N, BLOCK: tl.constexpr):
    """Rows of a matrix as a block (rows, BLOCK); zeros beyond N and WIDTH."""
    columns = tl.arange(0, BLOCK)
    inside = (rows[:, None] < N) & (columns[None, :] < WIDTH)
    return tl.load(pointer + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _store_rows(pointer, rows, stride, WIDTH, N, BLOCK: tl.constexpr, block):
    columns = tl.arange(0, BLOCK)
    inside = (rows[:, None] < N) & (columns[None, :] < WIDTH)
    places = pointer + rows[:, None] * stride + columns[None, :]
    tl.store(places, block.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _logits(q, k, t, c, columns, N, BIASED: tl.constexpr, SCALE: tl.constexpr):
    """Logits of a block; minus infinity for keys beyond N."""
    logits = tl.dot(q, tl.trans(k), input_precision="tf32x3") * SCALE
    if BIASED:
        logits += tl.dot(t, tl.trans(c), input_precision="tf32x3")
    return tl.where(columns[None, :] < N, logits, float("-inf"))


@triton.jit
def forward_kernel(
    qkv, towards, codes, out, log_sums, N, H,
    towards_batch, towards_head, towards_row, codes_batch,
    D: tl.constexpr, E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, BIASED: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    """A block of queries of one head: ``out`` (B, N, H, D), ``log_sums`` (B, H, N)."""
    head = tl.program_id(1)
    b, h = (head // H).to(tl.int64), head % H
    rows = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    step = 3 * H * D
    here = qkv + b * N * step + h * D
    q = _rows_of(here, rows, step, D, N, BLOCK_D)
    t = q
    if BIASED:
        t = _rows_of(towards + b * towards_batch + h * towards_head, rows, towards_row, E, N, BLOCK_E)
    highest = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    gathered = tl.zeros([QUERIES, BLOCK_D], tl.float32)
    for start in range(0, N, KEYS):
        columns = start + tl.arange(0, KEYS)
        k = _rows_of(here + H * D, columns, step, D, N, BLOCK_D)
        v = _rows_of(here + 2 * H * D, columns, step, D, N, BLOCK_D)
        c = k
        if BIASED:
            c = _rows_of(codes + b * codes_batch, columns, E, E, N, BLOCK_E)
        logits = _logits(q, k, t, c, columns, N, BIASED, SCALE)
        following = tl.maximum(highest, tl.max(logits, 1))
        shares = tl.exp(logits - following[:, None])
        kept = tl.exp(highest - following)
        total = total * kept + tl.sum(shares, 1)
        gathered = gathered * kept[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="tf32x3")
        highest = following
    _store_rows(out + b * N * H * D + h * D, rows, H * D, D, N, BLOCK_D, gathered / total[:, None])
    tl.store(log_sums + head.to(tl.int64) * N + rows, highest + tl.log(total), mask=rows < N)


@triton.jit
def _gradient_of_logits(
    q, k, v, t, c, g, o, log_sums, rows, columns, N, BIASED: tl.constexpr, SCALE: tl.constexpr
):
    """Shares of a block, and the gradient of its logits."""
    logits = _logits(q, k, t, c, columns, N, BIASED, SCALE)
    shares = tl.exp(logits - log_sums[:, None])
    shares = tl.where(rows[:, None] < N, shares, 0.0)
    common = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
    wanted = tl.dot(g, tl.trans(v), input_precision="tf32x3")
    return shares, shares * (wanted - common[:, None])


@triton.jit
def backward_kernel(
    qkv, towards, codes, out, log_sums, gradient, qkv_gradient, towards_gradient, N, H,
    towards_batch, towards_head, towards_row, codes_batch,
    D: tl.constexpr, E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, BIASED: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    """Gradients of one head: the first programs of a head do keys and values, the others queries.

    ``towards_gradient`` lies as ``towards``.
    """
    head = tl.program_id(1)
    b, h = (head // H).to(tl.int64), head % H
    step = 3 * H * D
    here = qkv + b * N * step + h * D
    there = qkv_gradient + b * N * step + h * D
    o_here = out + b * N * H * D + h * D
    g_here = gradient + b * N * H * D + h * D
    sums = log_sums + head.to(tl.int64) * N
    t_here = towards + b * towards_batch + h * towards_head
    c_here = codes + b * codes_batch
    blocks = tl.cdiv(N, KEYS)
    if tl.program_id(0) < blocks:
        columns = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
        k = _rows_of(here + H * D, columns, step, D, N, BLOCK_D)
        v = _rows_of(here + 2 * H * D, columns, step, D, N, BLOCK_D)
        c = k
        if BIASED:
            c = _rows_of(c_here, columns, E, E, N, BLOCK_E)
        of_k = tl.zeros([KEYS, BLOCK_D], tl.float32)
        of_v = tl.zeros([KEYS, BLOCK_D], tl.float32)
        for start in range(0, N, QUERIES):
            rows = start + tl.arange(0, QUERIES)
            q = _rows_of(here, rows, step, D, N, BLOCK_D)
            g = _rows_of(g_here, rows, H * D, D, N, BLOCK_D)
            o = _rows_of(o_here, rows, H * D, D, N, BLOCK_D)
            t = q
            if BIASED:
                t = _rows_of(t_here, rows, towards_row, E, N, BLOCK_E)
            found = tl.load(sums + rows, mask=rows < N, other=0.0)
            shares, of_logits = _gradient_of_logits(
                q, k, v, t, c, g, o, found, rows, columns, N, BIASED, SCALE
            )
            of_v += tl.dot(tl.trans(shares.to(g.dtype)), g, input_precision="tf32x3")
            of_k += tl.dot(tl.trans(of_logits.to(q.dtype)), q, input_precision="tf32x3")
        _store_rows(there + H * D, columns, step, D, N, BLOCK_D, of_k * SCALE)
        _store_rows(there + 2 * H * D, columns, step, D, N, BLOCK_D, of_v)
    else:
        rows = (tl.program_id(0) - blocks) * QUERIES + tl.arange(0, QUERIES)
        q = _rows_of(here, rows, step, D, N, BLOCK_D)
        g = _rows_of(g_here, rows, H * D, D, N, BLOCK_D)
        o = _rows_of(o_here, rows, H * D, D, N, BLOCK_D)
        t = q
        if BIASED:
            t = _rows_of(t_here, rows, towards_row, E, N, BLOCK_E)
        found = tl.load(sums + rows, mask=rows < N, other=0.0)
        of_q = tl.zeros([QUERIES, BLOCK_D], tl.float32)
        of_t = tl.zeros([QUERIES, BLOCK_E], tl.float32)
        for start in range(0, N, KEYS):
            columns = start + tl.arange(0, KEYS)
            k = _rows_of(here + H * D, columns, step, D, N, BLOCK_D)
            v = _rows_of(here + 2 * H * D, columns, step, D, N, BLOCK_D)
            c = k
            if BIASED:
                c = _rows_of(c_here, columns, E, E, N, BLOCK_E)
            _, of_logits = _gradient_of_logits(q, k, v, t, c, g, o, found, rows, columns, N, BIASED, SCALE)
            of_q += tl.dot(of_logits.to(k.dtype), k, input_precision="tf32x3")
            if BIASED:
                of_t += tl.dot(of_logits.to(c.dtype), c, input_precision="tf32x3")
        _store_rows(there, rows, step, D, N, BLOCK_D, of_q * SCALE)
        if BIASED:
            t_there = towards_gradient + b * towards_batch + h * towards_head
            _store_rows(t_there, rows, towards_row, E, N, BLOCK_E, of_t)


@triton.jit
def backward_whole_kernel(
    qkv, towards, codes, out, log_sums, gradient, qkv_gradient, towards_gradient, N, H,
    towards_batch, towards_head, towards_row, codes_batch,
    D: tl.constexpr, E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    TOKENS: tl.constexpr, BIASED: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    """All gradients of one head whose tokens fit into one block."""
    head = tl.program_id(0)
    b, h = (head // H).to(tl.int64), head % H
    step = 3 * H * D
    here = qkv + b * N * step + h * D
    there = qkv_gradient + b * N * step + h * D
    rows = tl.arange(0, TOKENS)
    q = _rows_of(here, rows, step, D, N, BLOCK_D)
    k = _rows_of(here + H * D, rows, step, D, N, BLOCK_D)
    v = _rows_of(here + 2 * H * D, rows, step, D, N, BLOCK_D)
    g = _rows_of(gradient + b * N * H * D + h * D, rows, H * D, D, N, BLOCK_D)
    o = _rows_of(out + b * N * H * D + h * D, rows, H * D, D, N, BLOCK_D)
    t, c = q, k
    if BIASED:
        t = _rows_of(towards + b * towards_batch + h * towards_head, rows, towards_row, E, N, BLOCK_E)
        c = _rows_of(codes + b * codes_batch, rows, E, E, N, BLOCK_E)
    found = tl.load(log_sums + head.to(tl.int64) * N + rows, mask=rows < N, other=0.0)
    shares, of_logits = _gradient_of_logits(q, k, v, t, c, g, o, found, rows, rows, N, BIASED, SCALE)
    of_logits = of_logits.to(q.dtype)
    of_q = tl.dot(of_logits, k, input_precision="tf32x3") * SCALE
    of_k = tl.dot(tl.trans(of_logits), q, input_precision="tf32x3") * SCALE
    of_v = tl.dot(tl.trans(shares.to(g.dtype)), g, input_precision="tf32x3")
    _store_rows(there, rows, step, D, N, BLOCK_D, of_q)
    _store_rows(there + H * D, rows, step, D, N, BLOCK_D, of_k)
    _store_rows(there + 2 * H * D, rows, step, D, N, BLOCK_D, of_v)
    if BIASED:
        of_t = tl.dot(of_logits, c, input_precision="tf32x3")
        t_there = towards_gradient + b * towards_batch + h * towards_head
        _store_rows(t_there, rows, towards_row, E, N, BLOCK_E, of_t)
