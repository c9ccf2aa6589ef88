"""cuDNN's flex attention: cudnn.flex_attention of the package nvidia-cudnn-frontend."""
import importlib.metadata

import torch

import tiles
from peer import Peer, in_token_order, wall_seconds


class CudnnFlex(Peer):
    """cudnn.flex_attention: a plan from at most a few visible intervals a row."""

    name = "cudnn_flex"
    tier = 0
    most_intervals = 4

    def version(self):
        from cudnn.flex_attention import create_mask_plan

        assert create_mask_plan
        return importlib.metadata.version("nvidia-cudnn-frontend")

    def compile_key(self, case):
        return case.head_dim, case.dtype, case.heads // case.kv_heads

    def prepare(self, case, inputs):
        from cudnn.flex_attention import create_mask_plan, flex_attn_func

        device = inputs.q.device
        ends = interval_ends(case, self.most_intervals)
        if ends is None:
            raise NotImplementedError(f"a row has more than {self.most_intervals} intervals")
        ends = ends.to(device)

        def create():
            return create_mask_plan(ends, inputs.q, inputs.k, inputs.v, build_backward=True)

        plan, first = wall_seconds(create, device)
        _, again = wall_seconds(create, device)

        def run(q, k, v):
            return flex_attn_func(q, k, v, mask_plan=plan)

        return in_token_order(run, inputs, mask_seconds={"first": first, "again": again})


def interval_ends(case, most):
    """cuDNN's mask: F int32 [1 or H, odd count, B · S]; a row sees [0, F0) ∪ [F1, F2) ∪ …"""
    table = tiles.row_intervals(case.mask, most)
    if table is None:
        return None
    table = torch.from_numpy(table)  # [batches, heads, S, count, 2]
    from_zero = table[..., 0, 0] == 0
    first = torch.where(from_zero, table[..., 0, 1], 0)
    nothing = torch.full_like(table[..., :1, :], case.length)
    shifted = torch.cat([table[..., 1:, :], nothing], -2)
    others = torch.where(from_zero[..., None, None], shifted, table)
    used = int((others[..., 0] < others[..., 1]).sum(-1).max())
    ends = torch.cat([first[..., None], others[..., :used, :].flatten(-2)], -1)
    if ends.shape[0] == 1:
        ends = ends.expand(case.batch, -1, -1, -1)
    if ends.shape[1] > 1:
        ends = ends.repeat_interleave(case.heads // ends.shape[1], 1)
    return ends.permute(1, 3, 0, 2).flatten(2).to(torch.int32).contiguous()
