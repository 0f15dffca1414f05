"""Data of the shape of ActivityNet-1.3: random features, random instances. `python data.py FOLDER [--train N] [--test N]`.

Writes annotations.json, features/*.npy (128 snippets of 512 values), scores.json and one experiment per precision.
"""
import argparse, json, os
import numpy as np

SECONDS, SNIPPETS, VALUES, CLASSES = 120.0, 128, 512, 200
MODELS = {
    "etad": 'preset = "activitynet"',
    "actionformer": 'preset = "activitynet"',
    "tridet": 'preset = "activitynet"',
    "gtad": 'preset = "activitynet"',
    "tadtr": 'preset = "thumos14", temporal = "rescale", window = 100, stride = 100, test_stride = 100, queries = 50, class_cost = 2.0, merging = "soft-nms"',
    "temporalmaxer": 'preset = "thumos14"',
}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--train", type=int, default=9649)
    ap.add_argument("--test", type=int, default=100)
    args = ap.parse_args()
    rng = np.random.default_rng(0)
    features = os.path.join(args.folder, "features")
    os.makedirs(features, exist_ok=True)
    pool = rng.standard_normal((4 * SNIPPETS, VALUES), dtype=np.float32)
    names = [f"c{i}" for i in range(CLASSES)]
    database, scores = {}, {}
    for i in range(args.train + args.test):
        video, test = f"v{i:05}", i >= args.train
        first = rng.integers(0, 3 * SNIPPETS)
        np.save(os.path.join(features, f"{video}.npy"), pool[first:first + SNIPPETS])
        label, instances = names[rng.integers(CLASSES)], []
        for _ in range(rng.integers(1, 4)):
            length = SECONDS * float(rng.uniform(0.03, 0.8))
            start = float(rng.uniform(0, SECONDS - length))
            instances.append({"segment": [start, start + length], "label": label})
        database[video] = {"subset": "validation" if test else "training", "duration": SECONDS, "annotations": instances}
        if test:
            scores[video] = {label: 0.9, names[rng.integers(CLASSES)]: 0.1}
    # Every class has an instance.
    for i, name in enumerate(names):
        database[f"v{i:05}"]["annotations"][0]["label"] = name
    write = lambda name, content: open(os.path.join(args.folder, name), "w").write(content)
    write("annotations.json", json.dumps({"database": database}))
    write("scores.json", json.dumps(scores))
    for precision in ("float32", "tf32", "bfloat16"):
        write(f"{precision}.toml", experiment(precision))


def experiment(precision):
    models = "\n".join(
        f'[model.{name}]\nlabels = "external"\nvideo_scores = {{ path = "scores.json", top = 2 }}\n'
        f'arch.{name} = {{ {settings}, precision = "{precision}" }}\n'
        for name, settings in MODELS.items())
    return f"""schema = 1
name = "gpu-{precision}"

[dataset]
format = "activitynet"
annotations = "annotations.json"
features = {{ path = "features", kind = "npy", dim = {VALUES}, rate = {SNIPPETS / SECONDS} }}

[protocol]
pool = ["training", "validation"]
split = "official"
fractions = [100]
seeds = [0]
budget = "epochs"

{models}"""


main()
