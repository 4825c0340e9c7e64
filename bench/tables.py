"""Results as Markdown: medians over the rounds, and busbar against the better of two proxies.

    python3 bench/tables.py build/bench/results.json                      prints the table
    python3 bench/tables.py build/bench/results.json docs/benchmarks.md   puts it there
"""
import json
import re
import statistics
import sys

from steps import FIGURES, LESS

BEGIN, END = "<!-- results: bench/tables.py -->", "<!-- end of results -->"
PROXIES = ("nginx", "haproxy")
NOT_COMPARED = ("failed or missing", "CPU of other programs, worst step")


def medians(results, names):
    """{figure: {gateway: median}} over all rounds in which both it and `direct` were measured."""
    found = {}
    for figure, _unit, _better, draw in FIGURES:
        found[figure] = {}
        for name in names:
            values = []
            for one in results["rounds"]:
                direct = one.get("direct", {})
                if name in one:
                    values.append(draw(one[name], direct))
            values = [v for v in values if v is not None]
            if values:
                found[figure][name] = statistics.median(values)
    return found


def text_of(number):
    if number is None:
        return "-"
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def ratio_of(figure, better, row):
    """busbar over the better proxy; None when either is missing or the ratio says nothing."""
    others = [row[p] for p in PROXIES if p in row]
    if figure in NOT_COMPARED or "busbar" not in row or not others:
        return None
    best = min(others) if better == LESS else max(others)
    return row["busbar"] / best if best > 0 else None


def markdown(results):
    names = results["gateways"]
    has_ratio = "busbar" in names and any(p in names for p in PROXIES)
    heads = ["figure", *names] + (["busbar ÷ better of nginx, HAProxy"] if has_ratio else [])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    found = medians(results, names)
    for figure, unit, better, _draw in FIGURES:
        row = found[figure]
        if not row:
            continue
        cells = [figure + (f" ({unit})" if unit else "")]
        cells += [text_of(row.get(name)) for name in names]
        if has_ratio:
            ratio = ratio_of(figure, better, row)
            cells.append("-" if ratio is None else
                         f"{ratio:.2f} ({'less' if better == LESS else 'more'} is better)")
        lines.append("| " + " | ".join(cells) + " |")
    about = results["about"]
    lines += ["", f"{about['processor']}, {about['cores']} cores, {about['system']}; "
              f"{about['date']}; {len(results['rounds'])} rounds, medians. " +
              "; ".join(f"{n}: {v}" for n, v in about["versions"].items() if v) + "."]
    return "\n".join(lines) + "\n"


def put_into(path, table):
    """Replaces what stands between the marks of a document."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{path} has no place for results ({BEGIN} ... {END})")
    text = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END),
                  lambda _: f"{BEGIN}\n{table}{END}", text, flags=re.S)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        table = markdown(json.load(f))
    if len(sys.argv) == 3:
        put_into(sys.argv[2], table)
    else:
        print(table)


if __name__ == "__main__":
    main()
