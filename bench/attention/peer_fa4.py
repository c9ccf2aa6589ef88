"""FlashAttention-4: flash_attn.cute of the package flash-attn-4."""
import importlib.metadata

from peer import (Peer, bound_tables, document_ends, in_token_order, ordered, packed,
                  tiles_on_device, wall_seconds)

NATIVE = ("full", "causal", "sliding_window")


class Fa4(Peer):
    """flash_attn_func: its own causal and window masks, for others mask_mod with block sparsity."""

    name = "fa4"
    tier = 0

    def __init__(self, native=True):
        self.native = native
        if not native:
            self.name, self.tier = "fa4_mask", 3

    def version(self):
        import flash_attn.cute

        assert flash_attn.cute.flash_attn_func
        dsl = importlib.metadata.version("nvidia-cutlass-dsl")
        return f"{importlib.metadata.version('flash-attn-4')} (nvidia-cutlass-dsl {dsl})"

    def why_not(self, case):
        return "" if self.native or case.mask.family != "full" else "needs no mask_mod"

    def compile_key(self, case):
        sizes = (case.head_dim, case.dtype, case.heads // case.kv_heads)
        if self.native and case.mask.family in NATIVE:
            return (case.mask.family, *sizes)
        return (case.mask.form, case.mask.batches > 1, case.mask.heads > 1, *sizes)

    def prepare(self, case, inputs):
        from flash_attn.cute import flash_attn_func

        seconds = {}
        if self.native and case.mask.family in NATIVE:
            options = {"causal": case.mask.family == "causal"}
            if case.mask.family == "sliding_window":
                options["window_size"] = (case.mask.scalars[0] - 1, 0)
        else:
            options, took = wall_seconds(lambda: mask_options(case, inputs.q.device),
                                         inputs.q.device)
            seconds = {"first": took}

        def run(q, k, v):
            return flash_attn_func(q, k, v, **options)[0]

        return in_token_order(run, inputs, mask_seconds=seconds)


def mask_options(case, device):
    """flash_attn_func's arguments for a mask: the element test, its data, and both block lists."""
    from flash_attn.cute.block_sparsity import BlockSparseTensorsTorch

    import fa4_masks

    block = (128, 128 if case.head_dim <= 128 else 64)  # what its kernels divide
    live, full = tiles_on_device(case, device, *block)

    def sparse(live, full):
        lists = (*ordered(live & ~full), *ordered(full))
        return BlockSparseTensorsTorch(*(_shared(t, case.batch) for t in lists), block_size=block)

    options = {
        "mask_mod": getattr(fa4_masks, case.mask.form),
        "block_sparse_tensors": sparse(live, full),
        "block_sparse_tensors_bwd": sparse(live.transpose(2, 3), full.transpose(2, 3)),
    }
    if case.mask.scalars:
        options["aux_scalars"] = tuple(fa4_masks.scalar(value) for value in case.mask.scalars)
    elif case.mask.columns is not None:
        options["aux_tensors"] = [_shared(t, case.batch, case.heads)
                                  for t in bound_tables(case, device)]
    return options


def _shared(table, *sizes):
    """The first axes of size 1 as views of those sizes with stride 0, even where the size is 1.

    Its kernels are compiled for such strides: one batch row or many, it is one kernel.
    """
    shape, strides = list(table.shape), list(table.stride())
    for axis, size in enumerate(sizes):
        if shape[axis] == 1:
            shape[axis], strides[axis] = size, 0
    return table.as_strided(shape, strides)


class Fa4Varlen(Peer):
    """flash_attn_varlen_func on packed documents."""

    name = "fa4_varlen"
    tier = 0

    def version(self):
        return Fa4().version()

    def why_not(self, case):
        return "" if case.mask.documents else "not a mask of documents"

    def compile_key(self, case):
        return case.mask.causal, case.head_dim, case.dtype, case.heads // case.kv_heads

    def prepare(self, case, inputs):
        from flash_attn.cute import flash_attn_varlen_func

        ends, longest = document_ends(case, inputs.q.device)
        options = {"cu_seqlens_q": ends, "cu_seqlens_k": ends, "max_seqlen_q": longest,
                   "max_seqlen_k": longest, "causal": case.mask.causal}

        def run(q, k, v):
            return flash_attn_varlen_func(q, k, v, **options)[0]

        return packed(run, inputs)
