"""hitsreport.py -- what `hits` found, as Markdown and as plots."""
import re
import subprocess

import benchlib
import hitslib
import plot

TITLES = {
    "sizes": "Miss ratios at equal memory",
    "ttl": "With times to live",
    "density": "How many items fit",
    "calcification": "When sizes change",
    "overwrites": "Overwriting with ever new sizes",
    "threads": "Workers",
}


def versions(context):
    """What was measured, as (name, text)."""
    found = []
    for name, path in (("larder", context.larderd), ("memcached", context.memcached)):
        said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        found.append((name, ", ".join(said.split("\n")).strip(", ")))
    commit = subprocess.run(["git", "-C", benchlib.ROOT, "describe", "--always", "--dirty"],
                            capture_output=True, text=True).stdout.strip()
    return found + ([("commit", commit)] if commit else [])


def relative(command):
    """As somebody would type it in the tree."""
    return re.sub(r"\{port\}", "PORT", command.replace(f"{benchlib.ROOT}/", ""))


# ---- plots ----------------------------------------------------------------------------------

def series(lines):
    return [plot.Series(name, points, style) for style, (name, points) in enumerate(lines.items())]


def size_charts(data):
    for row, lines in data["lines"].items():
        yield row, plot.Chart(
            f"Row {row}: misses by memory", "memory, MiB (-m of memcached; larder has as much)",
            "miss ratio", series(lines), x_powers=True, y_most=1)


def draw_sizes(result, directory):
    charts, names = [], []
    for row, chart in size_charts(result.data):
        (directory / f"{row}.svg").write_text(plot.draw(chart))
        names.append((row, f"{row}.svg"))
        chart.title = row
        charts.append(chart)
    (directory / "overview.svg").write_text(
        plot.draw_multiples("Misses by memory, all rows", charts))
    return [("all rows", "overview.svg"), *names]


def draw_calcification(result, directory):
    chart = plot.Chart(
        "Values of another size, at each line", "requests, millions", "miss ratio",
        series(result.data["lines"]), x_low=0, y_most=1,
        marks=tuple((x, words) for x, words in result.data["marks"]))
    (directory / "calcification.svg").write_text(plot.draw(chart, 900, 420))
    return [("calcification", "calcification.svg")]


DRAWN = {"sizes": draw_sizes, "calcification": draw_calcification}


# ---- Markdown -------------------------------------------------------------------------------

def summary(results):
    """Every limit of every part, and how many there are of each kind."""
    rows = [[result.part, limit["what"], f"{limit['value']} {limit['unit']}".strip(),
             limit["limit"], limit["verdict"]] for result in results for limit in result.limits]
    counts = {verdict: sum(row[-1] == verdict for row in rows)
              for verdict in (hitslib.PASS, hitslib.FAIL, hitslib.NOT_MEASURED)}
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return rows, counts, words


def section(result, pictures):
    lines = [f"## {TITLES[result.part]} (`{result.part}`)", ""]
    lines += [f"- {what}: {value}" for what, value in [*result.machine, *result.versions]]
    lines += [f"- extent: {result.extent}, {result.seconds / 60:.1f} minutes", ""]
    for limit in result.limits:
        lines.append(f"- **{limit['verdict']}** {limit['what']}: {limit['value']} "
                     f"{limit['unit']}".rstrip() + f" (limit {limit['limit']})")
    for note in result.notes:
        lines += ["", note]
    for sentence, head, rows in result.tables:
        lines += ["", sentence, "", benchlib.markdown_table(head, rows)]
    if pictures:
        lines += [""] + [f"![{name}](plots/{file})" for name, file in pictures[:1]]
        if pictures[1:]:
            lines += ["", "One by one: " + ", ".join(f"[{name}](plots/{file})"
                                                     for name, file in pictures[1:])]
    return lines + [""] + [f"    {relative(command)}" for command in result.commands] + [""]


def write(results, out):
    """The report of all parts that have results, beside it the plots."""
    plots = out.parent / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    rows, _, words = summary(results)
    lines = ["# The last measurement of hits and memory", "", f"Limits: {words}.", "",
              benchlib.markdown_table(["part", "", "measured", "limit", ""], rows), ""]
    for result in results:
        pictures = DRAWN[result.part](result, plots) if result.part in DRAWN else []
        lines += section(result, pictures)
    out.write_text("\n".join(lines).rstrip() + "\n")
