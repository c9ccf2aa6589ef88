"""Heddle through its Python package, and nothing else of it."""
import torch

from peer import Peer, in_token_order, leaves, wall_seconds


class Heddle(Peer):
    """heddle.flashmask_attention on [B, S, H, D], the mask as FlashMask's tensor or prepared."""

    name = "heddle"
    tier = 0

    def __init__(self, prepared=False, deterministic=False, family=None):
        self.prepared, self.deterministic, self.family = prepared, deterministic, family
        if deterministic:
            self.name = "heddle_det"
        if family:  # for the rest of the process, so it comes last
            self.name, self.tier = f"heddle_sm{family}", 9

    def version(self):
        import importlib.metadata

        import heddle

        assert heddle.flashmask_attention
        try:
            return importlib.metadata.version("heddle")
        except importlib.metadata.PackageNotFoundError:
            return "not installed, from PYTHONPATH"

    def prepare(self, case, inputs):
        import heddle

        if self.family:
            from heddle import torch_cuda

            torch_cuda.COMPUTE_CAPABILITY = self.family
        options = {"deterministic": self.deterministic}

        def attention(q, k, v, **mask):
            return heddle.flashmask_attention(q, k, v, **mask, **options)

        mask, seconds = {"causal": case.mask.causal}, {}
        if case.mask.columns is not None:
            mask["startend_row_indices"] = torch.from_numpy(case.mask.columns).to(inputs.q.device)
            seconds = _plan_seconds(inputs, attention, mask)
        if self.prepared:
            mask = {"mask": _column_masks(case)}
        return in_token_order(lambda q, k, v: attention(q, k, v, **mask), inputs,
                              mask_seconds=seconds)


def _column_masks(case):
    """heddle.ColumnMask of each batch row, or one for all."""
    from heddle import masks

    if case.mask.columns is None:
        length = case.length
        return masks.causal(length) if case.mask.causal else masks.full(length, length)
    rows = [masks.from_startend_row_indices(row, case.length, case.mask.causal)
            for row in case.mask.columns]
    return rows[0] if len(rows) == 1 else rows


def _plan_seconds(inputs, attention, mask):
    """A call with a mask not seen before, less a call with one seen before; both passes' plans."""
    device = inputs.q.device
    arrays = leaves(inputs.q, inputs.k, inputs.v)
    attention(*arrays, **mask)
    _, again = wall_seconds(lambda: attention(*arrays, **mask), device)
    fresh = {**mask, "startend_row_indices": mask["startend_row_indices"].clone()}
    _, first = wall_seconds(lambda: attention(*arrays, **fresh), device)
    return {"again": max(0.0, first - again)}
