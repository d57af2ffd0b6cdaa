"""Two builds of FGMF side by side: does a change cost time?

    cargo build --release --example side_by_side -p fgmf    # in the tree of either build
    python parity/builds.py OLD/side_by_side NEW/side_by_side --model MODEL.onnx

The rows are those of `bench.py`. Repetitions alternate, so what disturbs one build disturbs the other. A ratio is the new
time over the old one, of medians: above 1 the new build is slower. Quartiles are those of neighbouring repetitions.
"""

import argparse
import statistics
import sys
import time

from bench import GROUPS, REST, SHORT, Server, quartiles


def measure(servers, reps):
    """Times of both builds, interleaved."""
    times = [[], []]
    typical = [statistics.median(server.ask("run")["ms"] for _ in range(3)) for server in servers]
    for i in range(max(5, reps // 3) if max(typical) > 1000 else reps):
        for side in (0, 1) if i % 2 else (1, 0):
            time.sleep(REST)
            if typical[side] < SHORT:
                servers[side].ask("run")
            times[side].append(servers[side].ask("run")["ms"])
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs=2, help="the old build and the new one")
    parser.add_argument("--model", required=True, help="model of the row pgd20-cnn-tiny")
    parser.add_argument("--rows", default="", help="starts of row names, separated by commas")
    parser.add_argument("--reps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    starts = tuple(options.rows.split(","))
    rows = [row for group, *_ in GROUPS for row in group if row.startswith(starts)]
    print(f"{'row':<18}{'old ms':>10}{'new ms':>10}{'ratio':>8}  quartiles")
    for row in rows:
        with Server(options.programs[0], options.threads) as old, Server(options.programs[1], options.threads) as new:
            for server in (old, new):
                server.ask("prepare", row, *([options.model] if row.startswith("pgd20") else []))
            before, after = measure((old, new), options.reps)
        low, _, high = quartiles([a / b for a, b in zip(after, before)])
        a, b = statistics.median(after), statistics.median(before)
        print(f"{row:<18}{b:>10.2f}{a:>10.2f}{a / b:>8.3f}  {low:.3f} to {high:.3f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
