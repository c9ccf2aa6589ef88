"""Heddle through its Python package, and nothing else of it."""
import torch

from peer import Peer, in_token_order, wall_seconds


class Heddle(Peer):
    """heddle.flashmask_attention on [B, S, H, D], the mask as FlashMask's tensor or prepared."""

    name = "heddle"
    tier = 0

    def __init__(self, prepared=False, deterministic=False):
        self.prepared, self.deterministic = prepared, deterministic
        if deterministic:
            self.name = "heddle_det"

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

        options = {"deterministic": self.deterministic}

        def attention(q, k, v, **mask):
            return heddle.flashmask_attention(q, k, v, **mask, **options)

        if self.prepared:
            mask, seconds = wall_seconds(lambda: _column_masks(case), inputs.q.device)
            return in_token_order(lambda q, k, v: attention(q, k, v, mask=mask), inputs,
                                  mask_seconds={"first": seconds})
        mask = {"causal": case.mask.causal}
        if case.mask.columns is not None:
            mask["startend_row_indices"] = torch.from_numpy(case.mask.columns).to(inputs.q.device)
        call = in_token_order(lambda q, k, v: attention(q, k, v, **mask), inputs)
        call.mask_seconds = _plan_seconds(call, attention, mask, inputs.q.device)
        return call


def _column_masks(case):
    """heddle.ColumnMask of each batch row, or one for all."""
    from heddle import masks

    if case.mask.columns is None:
        return (masks.causal if case.mask.causal else masks.full)(case.length)
    rows = [masks.from_startend_row_indices(row, case.length, case.mask.causal)
            for row in case.mask.columns]
    return rows[0] if len(rows) == 1 else rows


def _plan_seconds(call, attention, mask, device):
    """A call with a mask not seen before, less a call with one seen before."""
    if "startend_row_indices" not in mask:
        return {}
    with torch.no_grad():
        call.run(*call.inputs)
        _, again = wall_seconds(lambda: call.run(*call.inputs), device)
        fresh = {**mask, "startend_row_indices": mask["startend_row_indices"].clone()}
        _, first = wall_seconds(lambda: attention(*call.inputs, **fresh), device)
    return {"again": max(0.0, first - again)}
