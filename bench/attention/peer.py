"""What the benchmark measures: cases, inputs, and what a peer has to offer.

Shapes: B batch, S length (queries and keys), H query heads, K key/value heads, D head dimension.
"""
import json
import time
import zlib
from dataclasses import dataclass, field

import torch

import tiles


@dataclass(frozen=True)
class Case:
    """One mask at one size."""

    mask: object  # families.Mask
    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    origin: str  # "paper" or "random SEED"
    dtype: str = "bfloat16"

    @property
    def length(self):
        return self.mask.length

    @property
    def size(self):
        """What cases of one table have in common."""
        heads = f"{self.heads}" if self.kv_heads == self.heads else f"{self.heads}:{self.kv_heads}"
        return f"S={self.length} B={self.batch} H={heads} D={self.head_dim} {self.dtype}"

    @property
    def key(self):
        """Names the case among all runs: its parameters count too."""
        parameters = zlib.crc32(json.dumps(self.mask.parameters).encode())
        return f"{self.mask.family} {self.size} {self.origin} {parameters:08x}"

    def facts(self):
        """FLOP counts and bytes, which depend on the mask alone."""
        shape = (self.mask, self.batch, self.heads)
        tokens = self.batch * self.length
        inputs = tokens * (self.heads + 2 * self.kv_heads) * self.head_dim * 2
        outputs = tokens * self.heads * self.head_dim * 2
        lse = tokens * self.heads * 4
        return {
            "pairs": tiles.visible_pairs(*shape),
            "tile_pairs": tiles.live_tile_pairs(*shape, 128, 128),
            "backward_tile_pairs": tiles.live_tile_pairs(*shape, 64, 128),
            "forward_bytes": inputs + outputs + lse,
            "backward_bytes": 2 * inputs + 2 * outputs + lse,
        }


@dataclass
class Inputs:
    """q and d_out [B, S, H, D], k and v [B, S, K, D]."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    d_out: torch.Tensor

    @staticmethod
    def draw(case, device, seed=0):
        generator = torch.Generator(device).manual_seed(seed)

        def normal(heads):
            shape = (case.batch, case.length, heads, case.head_dim)
            return torch.randn(shape, generator=generator, device=device,
                               dtype=getattr(torch, case.dtype))

        return Inputs(normal(case.heads), normal(case.kv_heads), normal(case.kv_heads),
                      normal(case.heads))


@dataclass
class Call:
    """A peer made ready for one case: run(*inputs) gives out in the layout of d_out."""

    run: object
    inputs: tuple  # q, k, v in the peer's layout; leaves that want gradients
    d_out: torch.Tensor
    canonical: object  # from the peer's layout to [B, S, H, D]
    mask_seconds: dict = field(default_factory=dict)  # of building the mask, plan or block lists
    notes: str = ""


class Peer:
    """A library that may run a case. The smaller the tier, the earlier its turn."""

    name = ""
    tier = 0

    def version(self):
        """Raises where the library is missing."""
        raise NotImplementedError

    def why_not(self, case):
        """Why the library cannot express this case; empty when it can."""
        return ""

    def compile_key(self, case):
        """Cases of one key need the same kernels compiled; None: there is nothing to compile."""
        return None

    def prepare(self, case, inputs):
        """A Call. May raise: that is recorded and the run goes on."""
        raise NotImplementedError


def leaves(*tensors):
    return tuple(t.detach().requires_grad_() for t in tensors)


def in_token_order(run, inputs, **rest):
    """A Call on [B, S, H, D]."""
    return Call(run, leaves(inputs.q, inputs.k, inputs.v), inputs.d_out, lambda t: t, **rest)


def in_head_order(run, inputs, **rest):
    """A Call on dense [B, H, S, D]."""
    q, k, v, d_out = (t.transpose(1, 2).contiguous()
                      for t in (inputs.q, inputs.k, inputs.v, inputs.d_out))
    return Call(run, leaves(q, k, v), d_out, lambda t: t.transpose(1, 2), **rest)


def packed(run, inputs, **rest):
    """A Call on [B · S, H, D]."""
    q, k, v, d_out = (t.flatten(0, 1) for t in (inputs.q, inputs.k, inputs.v, inputs.d_out))
    batch = inputs.q.shape[0]
    return Call(run, leaves(q, k, v), d_out, lambda t: t.unflatten(0, (batch, -1)), **rest)


def wall_seconds(action, device):
    """Result and host seconds of an action, the device's work included."""
    synchronize(device)
    begin = time.perf_counter()
    result = action()
    synchronize(device)
    return result, time.perf_counter() - begin


def synchronize(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def bound_tables(case, device):
    """A mask's columns for query heads: one int32 [batches, heads, S] a column, heads 1 or H."""
    columns = torch.from_numpy(case.mask.columns).to(device)
    if columns.shape[1] > 1:
        columns = columns.repeat_interleave(case.heads // columns.shape[1], 1)
    return [column.contiguous() for column in columns.unbind(-1)]


def tiles_on_device(case, device, rows, keys):
    """live and full tiles, bool [batches, heads, row tiles, key tiles], heads 1 or H."""
    live, full = (torch.from_numpy(c).to(device) for c in tiles.tile_classes(case.mask, rows, keys))
    if live.shape[1] > 1:
        group = case.heads // live.shape[1]
        live, full = live.repeat_interleave(group, 1), full.repeat_interleave(group, 1)
    return live, full


def ordered(tiles_there):
    """Counts and rising indices of the true entries along the last axis of a bool tensor.

    int32, the indices with an axis as long as the tensor's own: those that count come first.
    """
    counts = tiles_there.sum(-1, dtype=torch.int32).contiguous()
    indices = torch.argsort(tiles_there.to(torch.int8), dim=-1, descending=True, stable=True)
    return counts, indices.to(torch.int32).contiguous()


def document_ends(case, device):
    """int32 [documents + 1] over the whole batch, and the longest document."""
    rows = case.mask.documents or [[case.length]]
    if len(rows) == 1:
        rows = rows * case.batch
    lengths = torch.tensor([0] + [length for row in rows for length in row])
    return lengths.cumsum(0).to(device, torch.int32), int(lengths.max())
