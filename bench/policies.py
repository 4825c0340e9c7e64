#!/usr/bin/env python3
"""Routing policies side by side before simulated engines: the tables of docs/proof.md.

    python3 bench/policies.py                                  all workloads, profile 8b, loads 0.7 0.95 1.3
    python3 bench/policies.py --profile mock --work chat,cold  these
    python3 bench/policies.py --trace conv=FILE --jitter       a recorded trace beside the generators
    python3 bench/policies.py --save FILE                      all figures as JSON

Load 1 is the highest rate at which round_robin keeps mean TTFT below 1.5 s and mean ITL below 60 ms
(100 ms where an engine has several GPUs); `busbar replay --load` looks for it. Cells are the default
policy's change against a rival in per cent: mean TTFT / p90 / p99 / mean e2e. A positive number is where
the rival is better.
"""
import argparse
import json
import math
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GENERATORS = ["chat", "agent", "b2b", "hot", "cold", "burst", "mixed", "decode"]
# Sessions go on after they have arrived: there must be many for the rate to say something.
LONGER = {"chat": 16, "agent": 4}
RIVALS = ["round_robin", "least_requests", "lmetric", "dynamo_cost", "llmd", "chwbl"]


def figures_of(policy):
    return {"mean": policy["ttft_ms"]["mean"], "p90": policy["ttft_ms"]["p90"],
            "p99": policy["ttft_ms"]["p99"], "e2e": policy["e2e_ms"]["mean"],
            "itl": policy["itl_ms"]["mean"], "hit": policy["cache_hit"], "goodput": policy["goodput"],
            "preemptions": policy["preemptions"], "failed": policy["failed"]}


def replay(args, trace, how, policies, is_trace):
    requests = args.requests * LONGER.get(trace.split(":")[-1], 1)
    command = [args.busbar, "replay", "--engines", str(args.engines), "--profile", args.profile,
               "--limit", str(requests), "--seed", str(args.seed), "--seeds", str(args.seeds),
               "--policy", ",".join(policies), "--json", *how]
    if is_trace and args.jitter:
        command.append("--jitter")
    command.append(trace)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit("%s\n%s" % (" ".join(command), done.stderr))
    return json.loads(done.stdout)


def change(ours, theirs):
    return 100 * (ours / theirs - 1) if theirs > 0 else 0.0


def cell(ours, theirs):
    return "/".join("%+.0f" % change(ours[k], theirs[k]) for k in ("mean", "p90", "p99", "e2e"))


def print_table(args, rows, rivals):
    print("\n### %s before %d engines of `%s`, %d seed%s\n" %
          (args.policy, args.engines, args.profile, args.seeds, "s" * (args.seeds > 1)))
    print("| workload | load | TTFT ms: mean, p90 | ITL | reuse | " + " | ".join(rivals) + " |")
    print("|---" * (5 + len(rivals)) + "|")
    for name, load, all_of in rows:
        ours = all_of[args.policy]
        print("| %s | %.2f | %.0f, %.0f | %.0f | %.2f | %s |" %
              (name, load, ours["mean"], ours["p90"], ours["itl"], ours["hit"],
               " | ".join(cell(ours, all_of[r]) for r in rivals)))


def print_means(args, rows, rivals):
    print("\ngeometric means of the ratios, and cells where the rival is better by more than 1 %:\n")
    print("| against | mean TTFT | p90 | p99 | e2e | worse in mean | in e2e | of |")
    print("|---|---|---|---|---|---|---|---|")
    for rival in rivals:
        out = []
        for key in ("mean", "p90", "p99", "e2e"):
            logs = [math.log(a[args.policy][key] / a[rival][key]) for _, _, a in rows if a[rival][key] > 0]
            out.append("%.3f" % math.exp(sum(logs) / len(logs)))
        worse = ["%d" % sum(change(a[args.policy][k], a[rival][k]) > 1 for _, _, a in rows)
                 for k in ("mean", "e2e")]
        print("| %s | %s | %s | %d |" % (rival, " | ".join(out), " | ".join(worse), len(rows)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busbar", default=os.path.join(ROOT, "build", "busbar"))
    parser.add_argument("--profile", default="8b")
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--loads", default="0.7,0.95,1.3")
    parser.add_argument("--work", default=",".join(GENERATORS))
    parser.add_argument("--trace", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--jitter", action="store_true")
    parser.add_argument("--policy", default="lookahead")
    parser.add_argument("--rivals", default=",".join(RIVALS))
    parser.add_argument("--save")
    args = parser.parse_args()
    rivals = args.rivals.split(",")
    works = [(t.split("=", 1)[0], t.split("=", 1)[1], True) for t in args.trace]
    works += [(w, "gen:" + w, False) for w in args.work.split(",") if w]
    rows = []
    for name, trace, is_trace in works:
        limit = None
        for load in map(float, args.loads.split(",")):
            how = ["--rate", "%.9g/s" % (load * limit)] if limit else ["--load", str(load)]
            result = replay(args, trace, how, [args.policy] + rivals, is_trace)
            limit = limit or result["rate_of_load_1"]
            rows.append((name, load, {p["policy"]: figures_of(p) for p in result["policies"]}))
            print("%s %.2f: %.3f arrivals a second" % (name, load, result["rate"]), file=sys.stderr)
    print_table(args, rows, rivals)
    print_means(args, rows, rivals)
    if args.save:
        with open(args.save, "w", encoding="utf-8") as out:
            json.dump([{"work": n, "load": l, "policies": a} for n, l, a in rows], out, indent=1)


if __name__ == "__main__":
    main()
