"""What `run.sh OUT` measured, as one JSON file and a table: `python summary.py OUT GPU.json > table.md`."""
import glob, json, os, statistics, sys

out, target = sys.argv[1], sys.argv[2]


def records(path):
    decoder, text, found = json.JSONDecoder(), open(path).read().strip(), []
    while text:
        record, end = decoder.raw_decode(text)
        found.append({k: record[k] for k in ("model", "fraction", "seed", "scores", "training", "usage", "provenance")}
                     | {"metrics": {k: m.get("value") for k, m in record["profile"]["metrics"].items() if k.startswith(("gpu", "cpu.time", "memory."))}})
        text = text[end:].strip()
    return found


def load(path):
    try:
        return json.load(open(path))
    except (OSError, ValueError):
        return None


raw = {"profiles": {}}
for path in sorted(glob.glob(os.path.join(out, "*-*.json"))):
    name = os.path.basename(path)[:-5]
    if name.startswith(("cells", "train")):
        raw[name] = records(path)
        continue
    document = load(path)
    if document is None:
        continue
    if name.startswith("parity"):
        raw["parity"] = {"passed": document["passed"], "folders": [{k: f[k] for k in ("model", "compared", "deviating")} for f in document["folders"]]}
        continue
    counted = [{"what": c["what"], **{k: c["dispatched"].get(k) for k in ("operators", "host_reads", "flop", "memory")}}
               for c in document["compute"] if c.get("dispatched")]
    raw["profiles"][name] = {"steps": document["steps"], "dispatched": counted}
raw["peer"] = load(os.path.join(out, "peer.json"))
raw["doctor"] = load(os.path.join(out, "doctor.json"))
json.dump(raw, open(target, "w"), indent=1)

print("| network | precision | step | operators | host reads | peak allocated | detection in a video | operators | host reads |")
print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for name, profile in sorted(raw["profiles"].items(), key=lambda item: item[0].split("-")[::-1]):
    precision, model = name.split("-")
    (step, detection), times = profile["dispatched"], profile["steps"]
    ms = lambda key: f"{1e3 * statistics.median(times[key]):.1f} ms"
    print(f"| {model} | {precision} | {ms('training_s')} | {step['operators']:,} | {step['host_reads'] or ''} | {step['memory']['peak_bytes'] / 1e6:,.0f} MB "
          f"| {ms('detection_s')} | {detection['operators']:,} | {detection['host_reads'] or ''} |")
