"""PyTorch's own: FlexAttention, scaled_dot_product_attention and varlen_attn."""
import contextlib
import os
import tempfile

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import families
import tiles
from peer import (Peer, bound_tables, document_ends, in_head_order, ordered, packed,
                  tiles_on_device, wall_seconds)

BLOCK = 128
DENSE_PAIRS = 2**34  # what create_block_mask may hold as bools: 16 GiB


class Flex(Peer):
    """flex_attention compiled for the case, with the case's own mask_mod and a BlockMask."""

    name = "flex"
    tier = 1

    def __init__(self, mode=None, backend=None, compile_block_mask=False):
        self.mode, self.backend = mode, backend
        self.compile_block_mask = compile_block_mask
        if backend:
            self.name, self.tier = f"flex_{backend.lower()}", 3

    def version(self):
        return torch.__version__

    def compile_key(self, case):
        return case.key

    def prepare(self, case, inputs):
        from torch.nn.attention.flex_attention import flex_attention

        device = inputs.q.device
        block_mask, seconds, notes = None, {}, ""
        if case.mask.family != "full":
            block_mask, seconds, notes = _block_mask(case, device, self.compile_block_mask)
        if device.type == "cuda":
            torch._dynamo.reset()  # else it falls back to dense attention after a few masks
            torch._functorch.config.donated_buffer = False  # the backward runs more than once
            flex_attention = torch.compile(flex_attention, dynamic=False, mode=self.mode)
        options = {"enable_gqa": case.heads != case.kv_heads}
        if self.backend:
            options["kernel_options"] = {"BACKEND": self.backend}

        def run(q, k, v):
            return flex_attention(q, k, v, block_mask=block_mask, **options)

        return in_head_order(run, inputs, mask_seconds=seconds, notes=notes)


class FlexSm80(Flex):
    """FlexAttention as on a GPU of family 8.0: its tile shapes, mma.sync and cp.async, no wgmma.

    Changes Triton and Inductor for the rest of the process, so it comes last.
    """

    name = "flex_sm80"
    tier = 9
    changed = False

    def prepare(self, case, inputs):
        if inputs.q.device.type == "cuda" and not FlexSm80.changed:
            FlexSm80.changed = True
            _compile_for_sm80()
        return super().prepare(case, inputs)


def _compile_for_sm80():
    """Triton makes PTX for 8.0, which is assembled for the GPU that is there."""
    from torch._inductor import config
    from triton.backends.nvidia.compiler import CUDABackend

    # Apart from the caches of what is compiled for this GPU.
    cache = os.path.join(tempfile.gettempdir(), f"heddle_peers_sm80_{os.getuid()}")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    os.environ["TRITON_CACHE_DIR"] = os.path.join(cache, "triton")
    config.compile_threads = 1  # in this process
    os.environ["TRITON_OVERRIDE_ARCH"] = "sm80"
    major, minor = torch.cuda.get_device_capability()
    torch.cuda.get_device_capability = lambda device=None: (8, 0)
    make_cubin = CUDABackend.make_cubin
    CUDABackend.make_cubin = lambda self, ptx, metadata, options, _: make_cubin(
        self, ptx, metadata, options, 10 * major + minor)


def mask_mod(case, device):
    """FlexAttention's element test: closed forms by arithmetic, others by their columns."""
    form, scalars = case.mask.form, case.mask.scalars
    tables = [] if case.mask.columns is None or scalars else bound_tables(case, device)
    tables = [t.squeeze(1) if t.shape[1] == 1 else t for t in tables]
    tables = [t.squeeze(0) if t.shape[0] == 1 else t for t in tables]
    by_batch, by_head = case.mask.batches > 1, case.mask.heads > 1

    def at(table, b, h, key):
        if by_batch:
            return table[b, h, key] if by_head else table[b, key]
        return table[h, key] if by_head else table[key]

    def test(b, h, row, key):
        return families.visible(form, row, key, scalars, [at(t, b, h, key) for t in tables])

    return test


def _block_mask(case, device, compiled):
    """A BlockMask, the seconds it took the first time and again, and which way it was made."""
    from torch.nn.attention.flex_attention import BlockMask, create_block_mask

    test = mask_mod(case, device)
    batches = case.mask.batches if case.mask.batches > 1 else None
    heads = case.heads if case.mask.heads > 1 else None
    def create():
        return create_block_mask(test, batches, heads, case.length, case.length, device=device,
                                 _compile=compiled)

    def by_hand():
        live, full = tiles_on_device(case, device, BLOCK, BLOCK)
        return BlockMask.from_kv_blocks(*ordered(live & ~full), *ordered(full), BLOCK_SIZE=BLOCK,
                                        mask_mod=test, seq_lengths=(case.length, case.length))

    if (batches or 1) * (heads or 1) * case.length**2 <= DENSE_PAIRS:
        with contextlib.suppress(torch.cuda.OutOfMemoryError):
            mask, first = wall_seconds(create, device)
            _, again = wall_seconds(create, device)
            _check_blocks(case, mask)
            return mask, {"first": first, "again": again}, ""
    mask, first = wall_seconds(by_hand, device)
    return mask, {"first": first}, "BlockMask made by hand"


def _check_blocks(case, block_mask):
    """create_block_mask finds the tiles that tiles.py finds."""
    live, full = tiles.tile_classes(case.mask, BLOCK, BLOCK)
    group = case.heads // live.shape[1] if live.shape[1] > 1 else 1
    found = int(block_mask.kv_num_blocks.sum()), int(block_mask.full_kv_num_blocks.sum())
    wanted = int((live & ~full).sum()) * group, int(full.sum()) * group
    if found != wanted:
        raise ValueError(f"BlockMask has {found} partial and full tiles; expected {wanted}")


class Sdpa(Peer):
    """scaled_dot_product_attention by one of its backends."""

    tier = 2

    def __init__(self, backend):
        self.name, self.backend = f"sdpa_{backend.lower().removesuffix('_attention')}", backend

    def version(self):
        if self.backend == "CUDNN_ATTENTION":
            return f"cuDNN {torch.backends.cudnn.version()}"
        return torch.__version__

    def why_not(self, case):
        return "" if case.mask.family in ("full", "causal") else "no sparse masks"

    def prepare(self, case, inputs):
        from torch.nn.functional import scaled_dot_product_attention

        options = {"is_causal": case.mask.causal, "enable_gqa": case.heads != case.kv_heads}

        def run(q, k, v):
            with sdpa_kernel(getattr(SDPBackend, self.backend)):
                return scaled_dot_product_attention(q, k, v, **options)

        return in_head_order(run, inputs)


class SdpaDense(Peer):
    """scaled_dot_product_attention with the mask as S × S bools."""

    name = "sdpa_dense"
    tier = 2
    most_pairs = 2**31  # of a bool mask that is turned into one of 2 bytes an entry

    def version(self):
        return torch.__version__

    def why_not(self, case):
        if case.mask.family in ("full", "causal"):
            return "needs no dense mask"
        pairs = case.mask.batches * case.mask.heads * case.length**2
        return "" if case.length <= 8192 and pairs <= self.most_pairs else "the mask is too large"

    def prepare(self, case, inputs):
        from torch.nn.attention.flex_attention import create_mask
        from torch.nn.functional import scaled_dot_product_attention

        device = inputs.q.device
        batches, heads = case.mask.batches, case.heads if case.mask.heads > 1 else 1
        dense, seconds = wall_seconds(
            lambda: create_mask(mask_mod(case, device), batches, heads, case.length, case.length,
                                device=device), device)
        dense = dense.expand(case.batch, heads, -1, -1)
        gqa = {"enable_gqa": case.heads != case.kv_heads}

        def run(q, k, v):
            with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
                return scaled_dot_product_attention(q, k, v, attn_mask=dense, **gqa)

        return in_head_order(run, inputs, mask_seconds={"first": seconds})


class Varlen(Peer):
    """varlen_attn (FlashAttention-2) on packed documents, and on windows."""

    name = "varlen"
    tier = 2
    expressible = ("full", "causal", "sliding_window", "causal_document", "document")

    def version(self):
        from torch.nn.attention.varlen import varlen_attn

        assert varlen_attn
        return torch.__version__

    def why_not(self, case):
        if case.heads != case.kv_heads:
            return "no grouped heads"
        return "" if case.mask.family in self.expressible else "not a mask of documents"

    def prepare(self, case, inputs):
        from torch.nn.attention.varlen import varlen_attn

        ends, longest = document_ends(case, inputs.q.device)
        window = (-1, 0) if case.mask.causal else (-1, -1)
        if case.mask.family == "sliding_window":
            window = (case.mask.scalars[0] - 1, 0)

        def run(q, k, v):
            return varlen_attn(q, k, v, ends, ends, longest, longest, window_size=window)

        return packed(run, inputs)
