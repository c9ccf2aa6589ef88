"""Tables in Markdown, everything in JSON, and a picture, from the records of a run."""
import json
import math
import os

import picture

# Whose forward + backward times are also divided, peer by Heddle
PAIRS = (("flex", "heddle"), ("flex_sm80", "heddle_sm80"), ("flex", "heddle_sm80"),
         ("sdpa_flash", "heddle_sm80"))
BACKWARD = 2.5  # FLOPs of a backward pass over those of a forward pass


def write(folder, runs, records, bandwidth=4.3e12, peak=989e12):
    """Writes table.md, results.json and picture.svg; returns the Markdown."""
    groups = _groups(records)
    lines = ["# Attention under column masks, against its peers", "", *_head(runs, records)]
    summaries = {}
    for title, cases in groups.items():
        rows = [_row(by_peer, _dense_rate(groups, title), bandwidth, peak) for by_peer in cases]
        summaries[title] = _summary(rows)
        lines += ["", f"## {title}", "", *_ours(rows, summaries[title]), *_all(rows),
                  *_masks(cases)]
    lines += ["", *_notes(records)]
    text = "\n".join(lines) + "\n"
    _save(folder, "table.md", text)
    _save(folder, "results.json", json.dumps(
        {"runs": runs, "summaries": summaries, "results": list(records.values())}, indent=1))
    panels = {title: [_bars(by_peer) for by_peer in cases] for title, cases in groups.items()}
    _save(folder, "picture.svg", picture.svg(panels, _machine(runs)))
    return text


def _save(folder, name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


def _groups(records):
    """Title -> list of {peer: record}, one a case, in the order they were measured."""
    cases = {}
    for record in records.values():
        cases.setdefault(record["case"], {})[record["peer"]] = record
    groups = {}
    for by_peer in cases.values():
        record = next(iter(by_peer.values()))
        kind = "the paper's parameters" if record["origin"] == "paper" else "random parameters"
        groups.setdefault(f"{record['size']}, {kind}", []).append(by_peer)
    return groups


def _machine(runs):
    if not runs:
        return ""
    run = runs[-1]
    return f"{run['gpu']}, driver {run['driver']}, torch {run['torch']}, commit {run['commit']}"


def _head(runs, records):
    if not runs:
        return []
    run = runs[-1]
    versions = ", ".join(f"{name} {version}" for name, version in run["peers"].items())
    machines = {runs[r["run"]]["uuid"] for r in records.values() if r["run"] < len(runs)}
    lines = [
        f"- {_machine(runs)}, {run['date']}",
        f"- peers: {versions}",
        f"- command: `{run['command']}`",
        "- TFLOP/s count visible pairs alone: 4 · pairs · D forward, 2.5 times that backward. Each "
        "pass is a replayed CUDA graph, backward by torch.autograd.grad; masks and plans are made.",
    ]
    if len(machines) > 1:
        lines.append(f"- **results of {len(machines)} machines: do not compare across them**")
    return lines


def _flops(record, pairs="pairs"):
    forward = 4 * record["facts"][pairs] * record["head_dim"]
    return {"forward": forward, "backward": BACKWARD * forward}


def _seconds(record):
    """Times of a record that counts; None for the others."""
    if record is None or record["status"] != "ok":
        return None
    forward, backward = record["forward"]["seconds"], record["backward"]["seconds"]
    return {"forward": forward, "backward": backward, "both": forward + backward}


def _dense_rate(groups, title):
    """FLOP/s of FA4's full attention at the same size in this run; None when it is not there."""
    for other, cases in groups.items():
        if other.split(",")[0] != title.split(",")[0]:
            continue
        for by_peer in cases:
            times = _seconds(by_peer.get("fa4"))
            if times and by_peer["fa4"]["family"] == "full":
                flops = _flops(by_peer["fa4"])
                return {way: flops[way] / times[way] for way in flops}
    return None


def _floor(record, dense, bandwidth):
    """Seconds that no tiled kernel of FA4's dense rate can beat."""
    facts = record["facts"]
    forward = 4 * facts["tile_pairs"] * record["head_dim"]
    backward = BACKWARD * 4 * facts["backward_tile_pairs"] * record["head_dim"]
    return {"forward": max(forward / dense["forward"], facts["forward_bytes"] / bandwidth),
            "backward": max(backward / dense["backward"], facts["backward_bytes"] / bandwidth)}


def _row(by_peer, dense, bandwidth, peak):
    """One case: our figures, every peer's, and the ratios."""
    record = next(iter(by_peer.values()))
    ours = _seconds(by_peer.get("heddle"))
    flops, tile_flops = _flops(record), _flops(record, "tile_pairs")
    row = {"name": _name(record), "peers": {}, "ours": ours, "best": {}, "ratio": {}}
    for peer, other in by_peer.items():
        times = _seconds(other)
        row["peers"][peer] = times and {way: flops[way] / times[way] for way in flops}
    for way in ("forward", "backward", "both"):
        others = {p: _seconds(r)[way] for p, r in by_peer.items()
                  if not p.startswith("heddle") and _seconds(r)}
        if others:
            row["best"][way] = min(others, key=others.get)
            if ours:
                row["ratio"][way] = min(others.values()) / ours[way]
    for peer, mine in PAIRS:
        times = _seconds(by_peer.get(peer)), _seconds(by_peer.get(mine))
        if all(times):
            row["ratio"][f"{peer} ÷ {mine}"] = times[0]["both"] / times[1]["both"]
    if ours:
        row["tiles"] = {way: tile_flops[way] / ours[way] for way in flops}
        row["peak"] = sum(tile_flops.values()) / ours["both"] / peak
        if dense:
            floor = _floor(record, dense, bandwidth)
            row["floor"] = {way: ours[way] / floor[way] for way in flops}
    return row


def _name(record):
    if record["origin"] == "paper":
        return record["family"].replace("_", " ")
    return f"{record['family'].replace('_', ' ')} ({record['origin']})"


def _summary(rows):
    """Geometric means and extremes of the ratios."""
    found = {"cases": len(rows)}
    for key in ("forward", "backward", "both", *(f"{peer} ÷ {mine}" for peer, mine in PAIRS)):
        ratios = {row["name"]: row["ratio"][key] for row in rows if key in row["ratio"]}
        if ratios:
            worst = min(ratios, key=ratios.get)
            found[key] = {
                "mean": math.exp(sum(map(math.log, ratios.values())) / len(ratios)),
                "worst": ratios[worst], "worst_case": worst, "best": max(ratios.values()),
                "count": len(ratios)}
    for kind, is_long in (("from 1 ms on", True), ("below 1 ms", False)):
        floors = {f"{row['name']}, {way}": row["floor"][way] for row in rows if "floor" in row
                  for way in row["floor"] if (row["ours"][way] >= 1e-3) == is_long}
        if floors:
            worst = max(floors, key=floors.get)
            found[f"floor {kind}"] = {"worst": floors[worst], "worst_case": worst}
    peaks = [row["peak"] for row in rows if "peak" in row]
    if peaks:
        found["peak"] = [min(peaks), max(peaks)]
    return found


def _figure(value, scale=1e12, digits=0):
    return "–" if value is None else f"{value / scale:.{digits}f}"


def _pair(values, scale=1e12, digits=0):
    if not values:
        return "–"
    return " / ".join(_figure(values[way], scale, digits) for way in ("forward", "backward"))


def _ours(rows, summary):
    """Heddle's table and the ratios; the ratios alone where only its older kernels ran."""
    if not any(row["ours"] for row in rows):
        return [*_ratios(summary), ""]
    lines = ["| mask | Heddle, ms | TFLOP/s | live tiles counted | time ÷ floor | best peer | "
             "best ÷ Heddle, forward / backward | best ÷ Heddle | Flex ÷ Heddle |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = row["ratio"]
        both = "forward" in ratio
        cells = [row["name"], _pair(row["ours"], 1e-3, 3), _pair(row["peers"].get("heddle")),
                 _pair(row.get("tiles")),
                 _pair(row.get("floor"), 1, 2), row["best"].get("both", "–"),
                 _pair(ratio, 1, 2) if both else "–", _figure(ratio.get("both"), 1, 2),
                 _figure(ratio.get("flex ÷ heddle"), 1, 2)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_ratios(summary)]
    for key, s in summary.items():
        if key.startswith("floor"):
            lines.append(f"- time ÷ {key}: at most {s['worst']:.2f} ({s['worst_case']})")
    low, high = summary["peak"]
    lines.append(f"- share of the peak, live tiles counted, forward + backward: {low:.1%} to "
                 f"{high:.1%}")
    return [*lines, ""]


def _ratios(summary):
    """A line a kind of ratio."""
    lines = []
    for key, label in (("both", "best peer ÷ Heddle, forward + backward"),
                       ("forward", "best peer ÷ Heddle, forward"),
                       ("backward", "best peer ÷ Heddle, backward"),
                       *((f"{p} ÷ {m}", f"{p} ÷ {m}, forward + backward") for p, m in PAIRS)):
        if key in summary:
            s = summary[key]
            lines.append(f"- {label}: geometric mean {s['mean']:.2f} of {s['count']}, worst "
                         f"{s['worst']:.2f} ({s['worst_case']}), best {s['best']:.2f}")
    return lines


def _all(rows):
    """Every peer's TFLOP/s, forward / backward."""
    peers = list(dict.fromkeys(p for row in rows for p in row["peers"]))
    lines = ["| mask, TFLOP/s | " + " | ".join(peers) + " |", "|---" * (len(peers) + 1) + "|"]
    for row in rows:
        cells = [row["name"], *(_pair(row["peers"].get(p)) for p in peers)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _masks(cases):
    """What comes before the first result, and building a mask once more."""
    peers = list(dict.fromkeys(p for by_peer in cases for p in by_peer))
    lines = ["", "| seconds before the first result / to build the mask again | "
             + " | ".join(peers) + " |", "|---" * (len(peers) + 1) + "|"]
    for by_peer in cases:
        cells = [_name(next(iter(by_peer.values())))]
        for peer in peers:
            record = by_peer.get(peer, {})
            again = record.get("mask_seconds", {}).get("again")
            cells.append(f"{_figure(record.get('first_seconds'), 1, 1)} / "
                         f"{_figure(again, 1, 4)}" if "first_seconds" in record else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _notes(records):
    """Why there is a –, gathered by peer and reason."""
    reasons = {}
    for record in records.values():
        if record["status"] != "ok":
            reason = record["peer"], record["status"], record.get("reason", "")
            reasons.setdefault(reason, []).append(_name(record))
    lines = ["## Why there is a –", ""] if reasons else []
    for (peer, status, reason), names in reasons.items():
        names = list(dict.fromkeys(names))
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        lines.append(f"- {peer}, {status}: {reason or '-'} ({shown})")
    return lines + _doubts(records)


def _doubts(records):
    """Times to read with care: without a graph, or far apart between windows."""
    passes = [(record, record[way]) for record in records.values()
              for way in ("forward", "backward") if way in record]
    launched = sorted({f"{r['peer']} ({time['capture']})" for r, time in passes
                       if time["how"] == "launches"})
    spread = sorted({f"{r['peer']} {_name(r)}" for r, time in passes if time["spread"] > 0.1})
    lines = []
    if launched:
        lines.append(f"- timed by launches, no graph could be captured: {', '.join(launched)}")
    if spread:
        more = f" and {len(spread) - 8} more" if len(spread) > 8 else ""
        lines.append(f"- windows more than 10 % apart: {', '.join(spread[:8])}{more}")
    return ["", "## Times to read with care", "", *lines] if lines else []


def _bars(by_peer):
    """A case for the picture: its name and forward + backward TFLOP/s of each peer."""
    record = next(iter(by_peer.values()))
    flops = sum(_flops(record).values())
    rates = {}
    for peer, other in by_peer.items():
        times = _seconds(other)
        if times:
            rates[peer] = flops / times["both"] / 1e12
    return _name(record), rates
