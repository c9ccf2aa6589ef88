"""flashmask_attention on a GPU within torch: plans, streams, CUDA graphs, torch.compile."""

import time

import pytest

import heddle
from heddle import masks

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)

from gpu import assert_equal, indices_of, results, tensors  # noqa: E402
from heddle import torch_cuda, torch_op, torch_plans  # noqa: E402
from test_torch import Transformer  # noqa: E402

if not torch_cuda.BUILT:
    pytest.skip("this build has no CUDA kernels", allow_module_level=True)


class Plans:
    """Counts the plans that are made."""

    def __init__(self, monkeypatch):
        self.made = 0
        make = torch_cuda.plan_op

        def counted(*arguments):
            self.made += 1
            return make(*arguments)

        monkeypatch.setattr(torch_cuda, "plan_op", counted)


def test_plans_are_made_once(monkeypatch):
    plans = Plans(monkeypatch)
    arrays = tensors((256, 256))
    indices = indices_of((256, 256), 1, True)
    first = results(*arrays, startend_row_indices=indices, causal=True, deterministic=True)
    for _ in range(3):
        again = results(*arrays, startend_row_indices=indices[:], causal=True, deterministic=True)
        assert_equal(again, first)
    assert plans.made == 1
    other = indices_of((256, 256), 1, True, seed=9)
    indices.copy_(other)  # the same storage, changed in place
    changed = results(*arrays, startend_row_indices=indices, causal=True, deterministic=True)
    assert plans.made == 2
    clone = other.clone()
    fresh = results(*arrays, startend_row_indices=clone, causal=True, deterministic=True)
    assert_equal(changed, fresh)
    assert not torch.equal(changed[0], first[0])
    plans.made = 0
    mask = masks.sliding_window(256, 33)
    for _ in range(3):
        by_mask = results(*arrays, mask=mask, deterministic=True)
        by_window = results(*arrays, causal=True, window_size=32, deterministic=True)
        assert_equal(by_mask, by_window)
    assert plans.made == 2


def test_plans_go_with_their_masks():
    arrays = tensors((256, 256))
    for seed in range(40):  # storages come again at the same address
        indices = indices_of((256, 256), 2, False, seed=seed)
        out = heddle.flashmask_attention(*arrays, indices)
        fresh = torch_op.flashmask_op(*arrays, indices, None, False, 0, None, False)[0]
        assert torch.equal(out, fresh)
        del indices
    assert len(torch_plans._of_tensors) <= 2
    before = len(torch_plans._of_masks)
    mask = masks.causal_document([100, 156])
    heddle.flashmask_attention(*arrays, mask=mask)
    assert len(torch_plans._of_masks) == before + 1
    del mask
    assert len(torch_plans._of_masks) == before


def test_inference_mode():
    arrays = tensors((256, 256))
    indices = indices_of((256, 256), 1, True)
    expected = heddle.flashmask_attention(*arrays, indices, causal=True)
    with torch.inference_mode():
        for _ in range(2):
            own = indices.clone()
            assert torch.equal(heddle.flashmask_attention(*arrays, own, causal=True), expected)


def test_the_call_waits_for_nothing():
    arrays = [array.requires_grad_() for array in tensors((512, 512), 128)]
    indices = indices_of((512, 512), 1, True)

    def step(columns):
        out = heddle.flashmask_attention(*arrays, columns, causal=True)
        return torch.autograd.grad(out, arrays, torch.ones_like(out))

    step(indices)
    torch.cuda.synchronize()
    fresh = indices.clone()
    torch.cuda._sleep(2_000_000_000)  # about a second of the GPU
    asleep = torch.cuda.Event()
    asleep.record()
    begin = time.perf_counter()
    step(fresh)
    step(indices)
    took = time.perf_counter() - begin
    assert not asleep.query()
    assert took < 0.5
    torch.cuda.synchronize()


def test_streams():
    arrays = tensors((512, 512), 128)
    indices = indices_of((512, 512), 2, False)
    expected = results(*arrays, startend_row_indices=indices, deterministic=True)
    stream = torch.cuda.Stream()
    blank = [torch.zeros_like(array) for array in arrays]
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        for to, array in zip(blank, arrays):  # another stream would read zeros
            to.copy_(array)
        found = results(*blank, startend_row_indices=indices, deterministic=True)
    torch.cuda.synchronize()
    assert_equal(found, expected)


def captured(step, warm_up=True):
    """A CUDA graph of a step, and what the step returned in it."""
    stream = torch.cuda.Stream()
    if warm_up:
        with torch.cuda.stream(stream):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        found = step()
    return graph, found


@pytest.mark.parametrize("deterministic", [True, False])
def test_graphs_follow_their_inputs(deterministic):
    arrays = tensors((700, 700), 128, (4, 2))
    indices = indices_of((700, 700), 2, False)
    graph, found = captured(
        lambda: results(*arrays, startend_row_indices=indices, deterministic=deterministic)
    )
    for seed in range(3):  # new numbers and another mask in the same memory
        for array, other in zip(arrays, tensors((700, 700), 128, (4, 2), seed=seed)):
            array.copy_(other)
        indices.copy_(indices_of((700, 700), 2, False, seed=seed))
        graph.replay()
        expected = results(*arrays, startend_row_indices=indices, deterministic=deterministic)
        if deterministic:
            assert_equal(found, expected)
        else:
            torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_graphs_share_plans(monkeypatch):
    plans = Plans(monkeypatch)
    arrays = tensors((256, 256))
    indices, mask = indices_of((256, 256), 1, True), masks.causal_document([56, 200])

    def layers(**options):
        return [results(*arrays, deterministic=True, **options) for _ in range(3)]

    captured(lambda: layers(startend_row_indices=indices, causal=True))
    assert plans.made == 2  # one before, one in the graph
    plans.made = 0
    graph, found = captured(lambda: layers(mask=mask) + layers(causal=True, window_size=9))
    assert plans.made == 2  # none in the graph
    for _ in range(80):  # would push the window's plan out
        heddle.flashmask_attention(*arrays, window_size=plans.made)
    graph.replay()
    assert_equal(found[2], layers(mask=mask)[0])
    assert_equal(found[5], layers(causal=True, window_size=9)[0])


def test_a_new_mask_cannot_be_captured():
    arrays = tensors((256, 256))
    mask = masks.causal_document([56, 200])
    with pytest.raises(ValueError, match="Hint: run the captured part once beforehand"):
        captured(lambda: heddle.flashmask_attention(*arrays, mask=mask), warm_up=False)
    torch.cuda.synchronize()


@pytest.mark.parametrize("masked", [False, True])
def test_opcheck(masked):
    arrays = [array.requires_grad_() for array in tensors((130, 200), heads=(4, 2))]
    columns = indices_of((130, 200), 2, False) if masked else arrays[0].new_zeros(
        (1, 1, 200, 0), dtype=torch.int32
    )
    plan_arguments = (columns, 130, False, 70, 64, True, True)
    torch.library.opcheck(torch_cuda.plan_op, plan_arguments)
    plan = torch_cuda.plan_op(*plan_arguments)
    for options in ((columns, None), (None, plan)):
        arguments = (*arrays, *options, False, 70, None, True)
        torch.library.opcheck(torch_op.flashmask_op, arguments)
        plain = [array.detach() for array in arrays]
        out, lse = torch_op.flashmask_op(*plain, *arguments[3:])
        torch.library.opcheck(
            torch_op.flashmask_backward_op,
            (torch.ones_like(out), *plain, out, lse, *arguments[3:]),
        )


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile_with_changing_lengths(backend):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = Transformer(width=128, heads=2).to("cuda", torch.bfloat16)
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for lengths in ([30, 50], [90, 41, 200], [200], [1, 300], [7, 7, 70]):
        indices = masks.to_startend_row_indices(masks.causal_document(lengths))
        indices = torch.tensor(indices, device="cuda")[None]
        x = torch.randn(2, sum(lengths), 128, device="cuda", dtype=torch.bfloat16)
        torch.testing.assert_close(compiled(x, indices), model(x, indices), rtol=0.02, atol=0.02)
        compiled(x, indices).sum().backward()
    assert counter.frame_count == 1


def test_compiled_layers_share_a_plan(monkeypatch):
    torch._dynamo.reset()
    made = []
    make = torch_cuda._core.cuda_plan
    monkeypatch.setattr(torch_cuda._core, "cuda_plan", lambda *a: made.append(a) or make(*a))
    model = Transformer(width=128, heads=2).to("cuda", torch.bfloat16)
    indices = masks.to_startend_row_indices(masks.causal_document([100, 200]))
    x = torch.randn(1, 300, 128, device="cuda", dtype=torch.bfloat16)
    compiled = torch.compile(model, fullgraph=True)
    compiled(x, torch.tensor(indices, device="cuda")[None]).sum().backward()
    assert len(made) == 1


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "window_size": 30}])
def test_compile_without_columns(options):
    torch._dynamo.reset()
    arrays = tensors((300, 300), heads=(4, 2))
    compiled = torch.compile(
        lambda q, k, v: heddle.flashmask_attention(q, k, v, **options),
        backend="aot_eager",
        fullgraph=True,
    )
    assert torch.equal(compiled(*arrays), heddle.flashmask_attention(*arrays, **options))


def test_compile_around_a_mask():
    torch._dynamo.reset()
    mask = masks.causal_document([7, 293])
    arrays = tensors((300, 300))
    compiled = torch.compile(
        lambda q, k, v: heddle.flashmask_attention(q, k, v, mask=mask) * 2, backend="aot_eager"
    )
    assert torch.equal(compiled(*arrays), heddle.flashmask_attention(*arrays, mask=mask) * 2)
