"""ETAD in eager PyTorch on a CUDA device, a training step: the peer. `python peer.py FOLDER_OF_etad_pytorch [--steps N]`."""
import argparse, json, statistics, sys, time
import torch

ap = argparse.ArgumentParser()
ap.add_argument("folder")
ap.add_argument("--steps", type=int, default=30)
args = ap.parse_args()
sys.path.insert(0, args.folder)
import etad_pytorch as etad

B, T, BINS, C, K, WARM = 16, 128, 24, 512, 495, 8


def measure(tf32, bf16):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    weights = {k: v.detach().cuda().requires_grad_() for k, v in etad.parameters(C, BINS).items()}
    optimiser = torch.optim.AdamW(weights.values(), lr=1e-3, weight_decay=1e-4)
    torch.set_default_device("cuda")
    d, t = torch.meshgrid(torch.arange(T), torch.arange(T), indexing="ij")
    valid = torch.stack((t / T, (t + d + 1) / T), -1)[d + t < T]
    torch.cuda.reset_peak_memory_stats()
    times = []
    for step in range(args.steps + WARM):
        x = torch.randn(B, C, T)
        anchors = torch.stack([valid[torch.randperm(len(valid))[:K]] for _ in range(B)])
        s = torch.rand(B, 1) * 0.7
        gt = torch.cat((s, s + 0.05 + torch.rand(B, 1) * 0.2), 1)
        cells = torch.arange(T) / T
        near = lambda c: ((cells - c[:, None]).abs() < 1.5 / T).float()
        noise = [{k: torch.rand(B * K) for k in etad.KEYS} for _ in range(3)]
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            tem, stages = etad.forward(weights, x, anchors, BINS)
            full = [(a, i.float(), r.float()) for a, i, r in stages]
            cost = etad.loss(tem.float(), full, near(gt[:, 0]), near(gt[:, 1]), gt[:, None].expand(-1, K, -1), noise)
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        torch.cuda.synchronize()
        if step >= WARM:
            times.append(time.perf_counter() - began)
    torch.set_default_device("cpu")
    return {"step_s": statistics.median(times), "peak_allocated_bytes": torch.cuda.max_memory_allocated()}


rows = {"float32": measure(False, False), "tf32": measure(True, False), "bfloat16": measure(True, True)}
print(json.dumps({"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "roi_align": etad.roi_align is not None, **rows}))
