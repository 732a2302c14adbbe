"""plot.py -- line charts as SVG, written by hand: axes, ticks, units, a legend; light and dark.

A Chart says what is shown; `draw` makes one picture of it, `draw_multiples` a grid of small ones
with one legend.  A series is told apart by colour, by its marker and by its dashes, so that a
picture without colours can be read as well.  Where the colours come from: CSS classes in the file,
with a second set for readers who prefer dark.  Numbers only come in as data: nothing is measured
or judged here.
"""
import dataclasses
import math
from xml.sax.saxutils import escape

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #333 }
  .title { font-size: 14px; font-weight: 600; fill: #111 }
  .small text { font-size: 10px }
  .small .title { font-size: 11px }
  .paper { fill: #fff }
  .axis { stroke: #555; fill: none }
  .grid { stroke: #e4e4e4; fill: none }
  .mark { stroke: #888; stroke-dasharray: 2 3; fill: none }
  .line { fill: none; stroke-width: 2 }
  .s0 { stroke: #0b62c4 } .d0 { fill: #0b62c4 }
  .s1 { stroke: #c2520a; stroke-dasharray: 7 3 } .d1 { fill: #c2520a }
  .s2 { stroke: #2a7f3f; stroke-dasharray: 2 3 } .d2 { fill: #2a7f3f }
  .s3 { stroke: #7a4bb3; stroke-dasharray: 9 3 2 3 } .d3 { fill: #7a4bb3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ccc }
    .title { fill: #eee }
    .paper { fill: #15181c }
    .axis { stroke: #999 }
    .grid { stroke: #2c3138 }
    .s0 { stroke: #6ab0ff } .d0 { fill: #6ab0ff }
    .s1 { stroke: #ff9d57 } .d1 { fill: #ff9d57 }
    .s2 { stroke: #6fd08a } .d2 { fill: #6fd08a }
    .s3 { stroke: #c3a0f0 } .d3 { fill: #c3a0f0 }
  }
"""
STYLES_MAX = 4
TICKS_WANTED = 6
MARKED_POINTS_MAX = 16      # more of them in a line, and markers only hide it


@dataclasses.dataclass
class Series:
    name: str
    points: list            # (x, y) in the order of x
    style: int = 0          # colour, marker and dashes


@dataclasses.dataclass
class Chart:
    title: str
    x_label: str            # with the unit
    y_label: str
    series: list
    x_powers: bool = False  # x in powers of two
    marks: tuple = ()       # (x, text): upright lines
    x_low: float = None     # default: what the data need
    y_most: float = math.inf    # what cannot be exceeded, like a ratio of 1


@dataclasses.dataclass
class Box:
    """Where a chart lies in the picture, without its labels."""
    left: float
    top: float
    width: float
    height: float


# ---- scales ---------------------------------------------------------------------------------

def nice_step(span, wanted):
    """1, 2 or 5 times a power of ten, so that about so many steps make the span."""
    raw = span / wanted
    power = 10 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)


def linear_ticks(low, high, wanted=TICKS_WANTED):
    step = nice_step(high - low or 1, wanted)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def power_ticks(low, high):
    return [2 ** i for i in range(math.ceil(math.log2(low) - 1e-9),
                                  math.floor(math.log2(high) + 1e-9) + 1)]


def number(value):
    return f"{value:.10g}"


class Scales:
    """From data to places in the picture."""

    def __init__(self, chart, box):
        points = [point for series in chart.series for point in series.points]
        xs, ys = [x for x, _ in points] or [1, 2], [y for _, y in points] or [0, 1]
        self.box, self.powers = box, chart.x_powers
        self.x_low, self.x_high = min(xs) if chart.x_low is None else chart.x_low, max(xs)
        if self.x_low == self.x_high:
            self.x_low, self.x_high = ((self.x_low / 2, self.x_high * 2) if self.powers
                                       else (self.x_low - 1, self.x_high + 1))
        top = max(ys) * 1.05 or 1
        step = nice_step(top, TICKS_WANTED)
        self.y_high = min(math.ceil(top / step - 1e-9) * step, chart.y_most)

    def x_ticks(self):
        return (power_ticks if self.powers else linear_ticks)(self.x_low, self.x_high)

    def y_ticks(self):
        return linear_ticks(0, self.y_high)

    def x(self, value):
        low, high = self.x_low, self.x_high
        if self.powers:
            value, low, high = math.log2(value), math.log2(low), math.log2(high)
        return self.box.left + (value - low) / (high - low) * self.box.width

    def y(self, value):
        return self.box.top + (1 - value / self.y_high) * self.box.height


# ---- pieces of a picture --------------------------------------------------------------------

def text(x, y, words, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def line(css, x1, y1, x2, y2):
    return f'<path class="{css}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def marker(style, x, y, size=3.5):
    if style == 0:
        return f'<circle class="d0" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    if style == 1:
        return (f'<rect class="d1" x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" '
                f'height="{2 * size}"/>')
    return (f'<path class="d{style}" d="M{x:.1f} {y - size:.1f}l{size} {2 * size}h{-2 * size}z"/>')


def axes(chart, scales, labels=True):
    box, out = scales.box, []
    right, bottom = box.left + box.width, box.top + box.height
    for value in scales.y_ticks():
        y = scales.y(value)
        out += [line("grid", box.left, y, right, y),
                text(box.left - 6, y + 4, number(value), "end")]
    for value in scales.x_ticks():
        x = scales.x(value)
        out += [line("axis", x, bottom, x, bottom + 4),
                text(x, bottom + 17, number(value), "middle")]
    out.append(f'<path class="axis" d="M{box.left:.1f} {box.top:.1f}V{bottom:.1f}H{right:.1f}"/>')
    for x, words in chart.marks:
        out += [line("mark", scales.x(x), box.top, scales.x(x), bottom),
                text(scales.x(x) + 4, box.top + 11, words)]
    if labels:
        middle = box.top + box.height / 2
        out += [text(box.left + box.width / 2, bottom + 36, chart.x_label, "middle"),
                text(16, middle, chart.y_label, "middle",
                     f' transform="rotate(-90 16 {middle:.1f})"')]
    return out


def curves(chart, scales):
    """The first series is drawn last: what it covers is less important."""
    out = []
    for series in reversed(chart.series):
        places = [(scales.x(x), scales.y(min(y, scales.y_high))) for x, y in series.points]
        if not places:
            continue
        style = series.style % STYLES_MAX
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        out.append(f'<path class="line s{style}" d="M{path}"/>')
        if len(places) <= MARKED_POINTS_MAX:
            out += [marker(style, x, y) for x, y in places]
    return out


def legend(series_list, left, y):
    out = []
    for series in series_list:
        style = series.style % STYLES_MAX
        out += [line(f"line s{style}", left, y - 4, left + 26, y - 4),
                marker(style, left + 13, y - 4), text(left + 32, y, series.name)]
        left += 56 + 7 * len(series.name)
    return out


def picture(width, height, title, pieces):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>', *pieces, "</svg>", ""])


# ---- pictures -------------------------------------------------------------------------------

def draw(chart, width=640, height=400):
    """One chart, as the text of an SVG file."""
    scales = Scales(chart, Box(64, 62, width - 88, height - 114))
    pieces = [text(20, 24, chart.title, more=' class="title"'), *legend(chart.series, 64, 46),
              *axes(chart, scales), *curves(chart, scales)]
    return picture(width, height, chart.title, pieces)


def draw_multiples(title, charts, columns=4, cell_width=250, cell_height=190):
    """Many small charts; the labels of the axes and the legend are those of the first."""
    rows = -(-len(charts) // columns)
    width, height = columns * cell_width + 20, rows * cell_height + 66
    pieces = [text(20, 24, title, more=' class="title"'), *legend(charts[0].series, 20, 48),
              text(width - 20, 48, f"upright: {charts[0].y_label}; across: {charts[0].x_label}",
                   "end"), '<g class="small">']
    for i, chart in enumerate(charts):
        left, top = i % columns * cell_width + 52, i // columns * cell_height + 86
        scales = Scales(chart, Box(left, top, cell_width - 66, cell_height - 56))
        pieces += [text(left - 2, top - 8, chart.title, more=' class="title"'),
                   *axes(chart, scales, labels=False), *curves(chart, scales)]
    return picture(width, height, title, [*pieces, "</g>"])
