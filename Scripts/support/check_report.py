"""Opens a report in a real browser and says what is wrong with it: nothing, and status 0, if it is right.

    check_report.py PAGE.html [RESULT.json]

Headless Chromium at the widths of a telephone, a tablet and a desk, light and dark: no error on its console, nothing
wider than the window, every picture drawn and named, no text of a picture outside of it; with the JSON, every number
that is shown is there, and every number there is shown. Status 3 without a browser.
"""
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROBE = """<script>
addEventListener("load", () => {
  const all = s => [...document.querySelectorAll(s)];
  const wide = all("body *").filter(e => !e.closest(".table") && !e.closest("svg") &&
    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80));
  const outside = all("svg text").filter(t => {
    const box = t.getBoundingClientRect(), frame = t.closest("figure").getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
  }).map(t => t.textContent);
  const small = all("svg text").map(t => t.getBoundingClientRect().height).filter(h => h < 8).length;
  const result = {
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
    if (brightness(result["ink"]) > brightness(result["ground"])) != is_dark:
        yield f"{where}: {result['ink']} on {result['ground']}"


def number_complaints(browser, page, expected):
    shown = {(int(row), name): text for row, name, text in probe(browser, page, 1200, False)[0]["cells"]}
    for index, row in enumerate(expected["rows"]):
        for name, value in row["figures"].items():
            text = shown.pop((index, name), "-")
            if (None if text == "-" else float(text)) != value:
                yield f"row {index}: {name} is {text} on the page and {value} in the JSON"
    yield from (f"{key} is {text} on the page and not in the JSON" for key, text in shown.items() if text != "-")


def main():
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("check_report: no browser here (Debian package chromium)", file=sys.stderr)
        return 3
    page = pathlib.Path(sys.argv[1]).resolve()
    found = [text for width, is_dark in ((360, False), (800, True), (1280, False))
             for text in complaints(browser, page, width, is_dark)]
    if len(sys.argv) > 2:
        found += number_complaints(browser, page, json.loads(pathlib.Path(sys.argv[2]).read_text()))
    for text in found:
        print(text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
