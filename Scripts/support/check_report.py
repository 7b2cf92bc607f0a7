"""Opens a report in a real browser and says what is wrong with it: nothing, and status 0, if it is right.

    check_report.py PAGE.html [RESULT.json]

Headless Chromium at the widths of a telephone, a tablet and a desk, light and dark: no error on its console, nothing
wider than the window, a table of up to three moves whole; every picture drawn, with a title, a description, a unit and a
legend of its colours, no text of it outside; with the JSON, every number that is shown, in the table and in pictures, is
there, and every number there is shown. On paper: pages, none of them nearly empty but the last. Status 3 without a browser.
"""
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROBE = r"""<script>
addEventListener("load", () => {
  const all = s => [...document.querySelectorAll(s)];
  const wide = all("body *").filter(e => !e.closest(".table") && !e.closest("svg") &&
    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80));
  const outside = all("svg text").filter(t => {
    const box = t.getBoundingClientRect(), frame = t.closest("figure").getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
  }).map(t => t.textContent);
  const small = all("svg text").map(t => t.getBoundingClientRect().height).filter(h => h < 8).length;
  const unit = /(^|[\s,])(ms|µs|s|MiB|MiB\/s|pages|lines|faults)($|[\s,])|%|×|failed/;
  const paint = e => { const c = getComputedStyle(e); return c.fill === "none" ? c.stroke : c.fill; };
  const unexplained = all("figure").flatMap(f => {
    const keys = [...f.querySelectorAll(".key")].map(k => getComputedStyle(k).backgroundColor);
    // A bar says itself what it is.
    const marks = f.querySelector("ul") ? [...f.querySelectorAll("svg rect, svg path.line")] : [];
    const bars = f.querySelector("ul") ? 0 : f.querySelectorAll("svg rect").length;
    const caption = f.querySelector("figcaption").textContent;
    return marks.filter(m => !keys.includes(paint(m))).map(m => caption + ": " + m.getAttribute("class"))
      .concat(bars > f.querySelectorAll("svg text.value").length ? [caption + ": a bar without its number"] : []);
  });
  const tables = all(".table").filter(t => t.querySelectorAll("thead th").length <= 4 && t.scrollWidth > t.clientWidth + 1);
  const result = {
    unexplained, cut: tables.length,
    unitless: all("figure").filter(f => !unit.test([...f.querySelectorAll("svg text")].map(t => t.textContent).join(" ")))
      .map(f => f.querySelector("figcaption").textContent),
    captionless: all("svg").filter(s => !s.closest("figure")?.querySelector("figcaption")?.textContent.trim()).length,
    hints: Object.fromEntries(all("figure svg").map(s => [s.querySelector("title").id.replace(/-title$/, ""),
      [...s.querySelectorAll("rect title")].map(t => t.textContent)])),
    width: innerWidth, scroll: document.documentElement.scrollWidth, wide, outside, small,
    pictures: all("svg").length, flat: all("svg").filter(s => s.getBoundingClientRect().height < 10).length,
    unnamed: all("svg").filter(s => !s.querySelector("title") || !s.querySelector("desc") ||
      s.getAttribute("aria-labelledby").split(" ").some(id => !document.getElementById(id))).length,
    cells: all("[data-figure]").map(c => [c.dataset.row, c.dataset.figure, c.textContent]),
    ink: getComputedStyle(document.body).color, ground: getComputedStyle(document.body).backgroundColor};
  parent.postMessage(JSON.stringify(result), "*");
});
</script></head>"""
# A window of Chromium is never narrower than 500 pixels; a frame in it may be.
FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark"><title></title><script>
addEventListener("message", event => { document.title = "PROBE" + event.data; });
</script><iframe src="page.html" style="width:%dpx;height:900px;border:0"></iframe>"""


def probe(browser, page, width, is_dark):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "page.html"
        copy.write_text(page.read_text().replace("</head>", PROBE, 1))
        (copy.parent / "frame.html").write_text(FRAME % width)
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                   f"--user-data-dir={folder}/profile", f"--window-size={max(width, 500) + 20},950", "--dump-dom"]
        if is_dark:
            command.append("--blink-settings=preferredColorScheme=0")
        run = subprocess.run([*command, (copy.parent / "frame.html").as_uri()], capture_output=True, text=True, timeout=120)
    errors = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r"<title>PROBE(.*?)</title>", run.stdout, re.S)
    if not found:
        raise SystemExit(f"check_report: the browser did not load {page}: {run.stderr[-500:]}")
    return json.loads(html.unescape(found.group(1))), errors


def brightness(colour):
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def complaints(browser, page, width, is_dark):
    result, errors = probe(browser, page, width, is_dark)
    where = f"at {result['width']} px{', dark' if is_dark else ''}"
    yield from (f"{where}: {error}" for error in errors)
    if result["scroll"] > result["width"]:
        yield f"{where}: the page is {result['scroll']} px wide"
    yield from (f"{where}: beyond the right edge: {each}" for each in result["wide"][:5])
    yield from (f"{where}: text outside of its picture: {each}" for each in result["outside"][:5])
    if result["small"]:
        yield f"{where}: {result['small']} texts of pictures are less than 8 px high"
    if not result["pictures"] or result["flat"] or result["unnamed"]:
        yield f"{where}: of {result['pictures']} pictures {result['flat']} are flat, {result['unnamed']} without a name"
    if result["captionless"]:
        yield f"{where}: {result['captionless']} pictures have no caption"
    yield from (f"{where}: a picture without a unit: {each}" for each in result["unitless"])
    yield from (f"{where}: a colour that no legend explains: {each}" for each in result["unexplained"][:5])
    if result["cut"]:
        yield f"{where}: the table is cut, and has to be scrolled"
    if (brightness(result["ink"]) > brightness(result["ground"])) != is_dark:
        yield f"{where}: {result['ink']} on {result['ground']}"


def number_complaints(browser, page, expected):
    result = probe(browser, page, 1200, False)[0]
    missing = {(index, name): value for index, row in enumerate(expected["rows"])
               for name, value in row["figures"].items() if value is not None}
    figures = dict(missing)
    for row, name, text in result["cells"]:
        key = (int(row), name)
        missing.pop(key, None)
        # In pictures the unit stands behind it.
        if (None if text == "-" else float(text.split()[0])) != figures.get(key):
            yield f"row {row}: {name} is {text} on the page and {figures.get(key)} in the JSON"
    yield from (f"row {index}: {name} is {value} in the JSON and not on the page"
                for (index, name), value in missing.items())
    for index, row in enumerate(expected["rows"]):
        if "shown-round" in row:
            yield from picture_complaints(result["hints"], f"move-{index}", row["rounds"][row["shown-round"]])
    yield from histogram_complaints(result["hints"], expected)


def compare(name, shown, expected):
    if shown != expected:
        yield f"{name} shows {shown} and the JSON has {expected}"


def numbers(hints, pattern):
    return [tuple(map(float, match.groups())) for match in map(re.compile(pattern).search, hints) if match]


def picture_complaints(hints, name, shown):
    """The pictures of one move, by the words that a pointer over their parts shows."""
    series, figures = shown["series"], shown["figures"]
    passes = [f"{'post-copy' if each['postcopy'] else 'pass %d' % each['pass']}: {each['pages']} pages with content, "
              f"{each['zero-pages']} of zeros" for each in series["passes"]]
    yield from compare(f"{name}-passes", sorted(set(hints.get(f"{name}-passes", []))), sorted(passes))
    downtimes = [figures[key] for key in ("downtime-ms", "guest-gap-ms", "network-gap-ms") if figures[key] is not None]
    if downtimes:
        parts = list(shown["downtime-parts-ms"].values())
        yield from compare(f"{name}-downtime", numbers(hints.get(f"{name}-downtime", []), r": ([\d.]+) ms$"),
                           [(float(each),) for each in downtimes + parts])
    times = hints.get(f"{name}-time", [])
    phases = [(each["start"] * 1000, each["end"] * 1000) for each in series["phases"]]
    yield from compare_nearly(f"{name}-time: the phases", numbers(times, r": ([\d.]+) to ([\d.]+) ms$"), phases)
    stop = [(1000 * (end - start),) for start, end in [series["stopped"]]] if "stopped" in series else []
    yield from compare_nearly(f"{name}-time: the stop", sorted(set(numbers(times, r"for ([\d.]+) ms$"))), stop)


def compare_nearly(name, shown, expected):
    """The JSON has more digits than the picture."""
    same = len(shown) == len(expected) and all(
        abs(one - other) < 0.0511 for pair in zip(shown, expected) for one, other in zip(*pair))
    if not same:
        yield f"{name} are {shown} on the page and {expected} in the JSON"


def histogram_complaints(hints, expected):
    titles = {"precopy": "pre-copy", "postcopy": "post-copy", "hybrid": "hybrid"}
    many = len({row["transport"] for row in expected["rows"]}) > 1
    for name, member, microseconds in (("gaps", "guest-pauses", 1000), ("faults", "page-waits", 1)):
        counts = []
        for row in expected["rows"]:
            title = titles[row["mode"]] + (f", {row['transport']}" if many else "")
            if "shown-round" in row:
                counts += [f"{title}: {count} up to {duration(limit * microseconds)}"
                           for limit, count in row["rounds"][row["shown-round"]][member]]
        yield from compare(name, sorted(hints.get(name, [])), sorted(counts))


def duration(microseconds):
    value, unit = next((microseconds / factor, unit) for factor, unit in ((1e6, "s"), (1e3, "ms"), (1, "µs"))
                       if microseconds >= factor)
    return f"{int(value + 0.5)} {unit}"


def paper_complaints(browser, page):
    """Prints it; looks at the pages' ink if the tools for that are here (Debian package poppler-utils)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
                        f"--user-data-dir={folder}/profile", f"--print-to-pdf={folder}/page.pdf", page.as_uri()],
                       capture_output=True, timeout=120)
        if not pathlib.Path(f"{folder}/page.pdf").exists():
            yield "on paper: the browser did not print it"
            return
        if shutil.which("pdftoppm") is None:
            return
        subprocess.run(["pdftoppm", "-r", "20", "-gray", f"{folder}/page.pdf", f"{folder}/paper"], check=True)
        papers = sorted(pathlib.Path(folder).glob("paper*.pgm"))
        for number, paper in enumerate(papers[:-1], 1):
            width, height, pixels = grey(paper.read_bytes())
            last = max((line for line in range(height) if min(pixels[line * width:(line + 1) * width]) < 200), default=0)
            if last < height * 2 / 5:
                yield f"on paper: of page {number} only the upper {100 * last // height} % are used"


def grey(content):
    """Width, height and bytes of a binary PGM."""
    header = re.match(rb"P5\s+(\d+)\s+(\d+)\s+255\s", content)
    return int(header[1]), int(header[2]), content[header.end():]


def main():
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("check_report: no browser here (Debian package chromium)", file=sys.stderr)
        return 3
    page = pathlib.Path(sys.argv[1]).resolve()
    found = [text for width, is_dark in ((360, False), (800, True), (1280, False))
             for text in complaints(browser, page, width, is_dark)]
    found += paper_complaints(browser, page)
    if len(sys.argv) > 2:
        found += number_complaints(browser, page, json.loads(pathlib.Path(sys.argv[2]).read_text()))
    for text in found:
        print(text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
