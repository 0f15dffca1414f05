"""A trainer that etalon can measure: class means of snippet features. Put your own model in its place.

etalon starts it as `python train.py --job FOLDER`. FOLDER/job.json names the training and test videos, the files of their features
and where everything goes; this program writes the detections in the test videos, and etalon scores them.
"""
import argparse, ast, json, math, os, random, struct

parser = argparse.ArgumentParser()
parser.add_argument("--job", required=True)
folder = parser.parse_args().job
job = json.load(open(os.path.join(folder, "job.json")))
annotations = json.load(open(job["annotations"]))["database"]
random.seed(job["seed"])


def phase(name):
    """Tells etalon which phase begins, so that time and memory are told apart."""
    if "ETALON_PHASES" in os.environ:
        os.write(int(os.environ["ETALON_PHASES"]), f"{name}\n".encode())


def features(video):
    """Rows of one video, a list of numbers per snippet. With numpy: np.load(path)."""
    data = open(os.path.join(job["features"]["folder"], job["features"]["files"][video]), "rb").read()
    length = struct.unpack("<H" if data[6] == 1 else "<I", data[8 : 10 if data[6] == 1 else 12])[0]
    begin = (10 if data[6] == 1 else 12) + length
    header = ast.literal_eval(data[begin - length : begin].decode())
    rows, columns = header["shape"][-2:]
    values = struct.unpack("<" + str(rows * columns) + {"<f2": "e", "<f4": "f", "<f8": "d"}[header["descr"]], data[begin:])
    if (job["features"]["layout"] == "channels-time") != header["fortran_order"]:
        return [values[i::columns] for i in range(columns)]
    return [values[i * columns : (i + 1) * columns] for i in range(rows)]


def nearest(row, means):
    """Probability of each class (the last is background) by distance to the class means."""
    distances = [math.dist(row, mean) ** 2 if mean else math.inf for mean in means]
    least = min(distances)
    weights = [math.exp(-(d - least) / (1e-9 + least / len(row) * 2)) for d in distances]
    return [w / sum(weights) for w in weights]


phase("train")
sums, counts = {}, {}
for done, video in enumerate(job["training"], 1):
    period = job["features"]["period"][video]
    for i, row in enumerate(features(video)):
        centre = (i + 0.5) * period
        inside = [a["label_id"] for a in annotations[video]["annotations"] if a["segment"][0] <= centre < a["segment"][1]]
        label = inside[0] if inside else len(job["classes"])
        sums[label] = [s + x for s, x in zip(sums[label], row)] if label in sums else list(row)
        counts[label] = counts.get(label, 0) + 1
    print(json.dumps({"progress": done, "total": len(job["training"])}), flush=True)
means = [[s / counts[c] for s in sums[c]] if c in sums else None for c in range(len(job["classes"]) + 1)]

phase("detect")
results = {}
for video in job["test"]:
    period, runs = job["features"]["period"][video], []
    for i, row in enumerate(features(video)):
        chances = nearest(row, means)
        best = max(range(len(chances)), key=chances.__getitem__)
        if runs and runs[-1][0] == best:
            runs[-1][2] = i + 1
            runs[-1][3].append(chances[best])
        else:
            runs.append([best, i, i + 1, [chances[best]]])
    results[video] = [
        {"segment": [begin * period, min(end * period, job["videos"][video]["duration"])], "label": job["classes"][c], "score": sum(s) / len(s)}
        for c, begin, end, s in runs
        if c < len(job["classes"])
    ]
json.dump({"results": results}, open(job["detections"], "w"))
