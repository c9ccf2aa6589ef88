"""Which plan a call on the GPU takes: one made before for the same mask, or a new one.

A plan belongs to the stream it was made on, and one made while a CUDA graph is captured to that
capture: when the graph is replayed, it is made again from what the columns hold then. The others
are kept

- for a tensor of columns, while its storage lives and its version counter stands: torch counts
  every change in place;
- for a mask that numbers describe (causal, windows), the last ones used;
- for a mask object, as long as the object lives. Such a plan also serves CUDA graphs.
"""

import threading
import weakref
from collections import OrderedDict
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from heddle import _core, torch_cuda

MOST_TENSORS, MOST_NUMBERS = 16, 64

_lock = threading.RLock()
_of_tensors: "OrderedDict[Any, Tuple[StorageWeakRef, Tensor]]" = OrderedDict()
_of_numbers: "OrderedDict[Any, Tensor]" = OrderedDict()
_in_graphs: Dict[Any, Tensor] = {}  # of numbers, and in use by a CUDA graph: kept for good
_of_masks: "weakref.WeakKeyDictionary[Any, List[_Prepared]]" = weakref.WeakKeyDictionary()


class Wanted(NamedTuple):
    """What a plan depends on beside the columns."""

    query_length: int
    causal: bool
    offset: int
    head_dim: int
    backward: bool
    deterministic: bool


class _Prepared(NamedTuple):
    """Mask objects that were given together, their columns on a GPU, and the plans made of them."""

    masks: Tuple[Any, ...]  # weak
    device: torch.device
    columns: Tensor
    stream: torch.cuda.Stream  # that the columns were copied on
    ready: torch.cuda.Event
    plans: Dict[Any, Tensor]


def of_tensor(columns: Tensor, wanted: Wanted) -> Tensor:
    """The plan of a caller's tensor of columns."""
    if columns.is_inference():  # its changes are not counted
        return torch_cuda.plan_op(columns, *wanted)
    storage = columns.untyped_storage()
    place = (columns.storage_offset(), tuple(columns.shape), columns.stride(), columns.dtype)
    key = (storage._cdata, columns._version, place, *_key(columns.device, wanted))
    with _lock:
        if key in _of_tensors:
            _of_tensors.move_to_end(key)
            return _of_tensors[key][1]
        plan = torch_cuda.plan_op(columns.detach(), *wanted)
        # A storage's address is not used again while a weak reference to it is held.
        _of_tensors[key] = (StorageWeakRef(storage), plan)
        for old in [k for k, (seen, _) in _of_tensors.items() if seen.expired()]:
            del _of_tensors[old]
        while len(_of_tensors) > MOST_TENSORS:
            _of_tensors.popitem(last=False)
        return plan


def of_numbers(
    numbers: Tuple[Any, ...], columns: Callable[[], Tensor], device: torch.device, wanted: Wanted
) -> Tensor:
    """The plan of a mask that `numbers` describe and `columns` makes."""
    capture = _capture_of(device)
    with _lock:
        if capture:
            usual = (numbers, *_key(device, wanted, 0))
            if usual in _of_numbers:
                _in_graphs[usual] = _of_numbers.pop(usual)
            if usual in _in_graphs:
                return _in_graphs[usual]
        key = (numbers, *_key(device, wanted, capture))
        if key in _in_graphs:
            return _in_graphs[key]
        if key not in _of_numbers:
            _of_numbers[key] = torch_cuda.plan_op(columns(), *wanted)
        _of_numbers.move_to_end(key)
        while len(_of_numbers) > MOST_NUMBERS:
            _of_numbers.popitem(last=False)
        return _of_numbers[key]


def of_masks(
    masks: List[Any], columns: Callable[[], Tensor], device: torch.device, wanted: Wanted
) -> Tensor:
    """The plan of mask objects, whose columns [masks, heads, Sk, n] `columns` makes on the host."""
    capture = _capture_of(device)
    with _lock:
        prepared = _prepared(masks, columns, device, capture)
        usual = _key(device, wanted, 0)
        if usual in prepared.plans:
            return prepared.plans[usual]
        key = _key(device, wanted, capture)
        if key not in prepared.plans:
            if capture:
                for old in [k for k in prepared.plans if k[-1] not in (0, capture)]:
                    del prepared.plans[old]
            if not capture:
                _wait_for(prepared)
            prepared.plans[key] = torch_cuda.plan_op(prepared.columns, *wanted)
        return prepared.plans[key]


def _prepared(
    masks: List[Any], columns: Callable[[], Tensor], device: torch.device, capture: int
) -> _Prepared:
    known = _of_masks.setdefault(masks[0], [])
    for prepared in known:
        same = len(prepared.masks) == len(masks) and prepared.device == device
        if same and all(seen() is mask for seen, mask in zip(prepared.masks, masks)):
            return prepared
    if capture:
        raise ValueError(
            "flashmask_attention: mask= is not on the GPU yet, while a CUDA graph is captured; "
            "expected one used before. Hint: run the captured part once beforehand"
        )
    known[:] = [p for p in known if all(seen() is not None for seen in p.masks)]
    on_gpu = columns().pin_memory().to(device, non_blocking=True)
    stream = torch.cuda.current_stream(device)
    names = tuple(weakref.ref(mask) for mask in masks)
    known.append(_Prepared(names, device, on_gpu, stream, stream.record_event(), {}))
    return known[-1]


def _wait_for(prepared: _Prepared) -> None:
    stream = torch.cuda.current_stream(prepared.device)
    if stream != prepared.stream:
        stream.wait_event(prepared.ready)
        prepared.columns.record_stream(stream)


def _capture_of(device: torch.device) -> int:
    """Names the capture into a CUDA graph that the current stream is in; 0: none."""
    return _core.cuda_capture(torch.cuda.current_stream(device).cuda_stream)


def _key(device: torch.device, wanted: Wanted, capture: Optional[int] = None) -> Tuple[Any, ...]:
    """What any plan depends on: kernels of one tile shape share one."""
    query_length, causal, offset, *shape = wanted
    stream = torch.cuda.current_stream(device).cuda_stream
    if capture is None:
        capture = _core.cuda_capture(stream)
    plans = torch_cuda.tile_plans(device, *shape)
    return (device, stream, query_length, causal, offset, plans, capture)
