"""Draws what a terminal showed as a self-contained SVG: text on standard input, picture on standard output.

    Scripts/demo 2>&1 | python3 Scripts/support/terminal_picture.py "Scripts/demo" > picture.svg

Understands colours and bold (SGR), and a carriage return as "write the line anew". Light and dark are told apart by the
reader's own setting.
"""
import html
import re
import sys

COLOURS = {30: "dim", 31: "red", 32: "green", 33: "yellow", 34: "blue", 35: "magenta", 36: "cyan", 90: "dim"}
SGR = re.compile(r"\x1b\[([0-9;]*)m")
OTHER_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b[()][A-Z0-9]")
WIDTH, HEIGHT, MARGIN, BAR = 8.4, 18, 16, 34


def spans(line):
    """Cuts a line into (text, classes)."""
    classes, position = set(), 0
    for match in SGR.finditer(line):
        if match.start() > position:
            yield line[position:match.start()], " ".join(sorted(classes))
        position = match.end()
        for code in (int(code or 0) for code in match.group(1).split(";")):
            if code == 0:
                classes = set()
            elif code == 1:
                classes = classes | {"bold"}
            elif code == 2:
                classes = classes | {"dim"}
            elif code in COLOURS:
                classes = (classes - set(COLOURS.values())) | {COLOURS[code]}
            elif code == 39:
                classes = classes - set(COLOURS.values())
    if position < len(line):
        yield line[position:], " ".join(sorted(classes))


def main():
    title = sys.argv[1] if len(sys.argv) > 1 else ""
    text = OTHER_ESCAPE.sub("", sys.stdin.read()).rstrip("\n").expandtabs()
    lines = [line.split("\r")[-1] if not line.endswith("\r") else line.rstrip("\r") for line in text.split("\n")]
    columns = max([80] + [len(SGR.sub("", line)) for line in lines])
    width, height = columns * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + BAR + MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">')
    print(f"<title>{html.escape(title)}</title>")
    print("""<style>
.ground{fill:#fbfbf9;stroke:#d0d0c8}.bar{fill:#8a8a80}text{font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#24292f;white-space:pre}
.bold{font-weight:700}.dim{fill:#6e7781}.red{fill:#cf222e}.green{fill:#1a7f37}.yellow{fill:#9a6700}.blue{fill:#0969da}.magenta{fill:#8250df}.cyan{fill:#1b7c83}
@media (prefers-color-scheme:dark){.ground{fill:#16191d;stroke:#33383f}text{fill:#d7dce2}.dim{fill:#8b949e}.red{fill:#ff7b72}.green{fill:#56d364}.yellow{fill:#e3b341}.blue{fill:#79c0ff}.magenta{fill:#d2a8ff}.cyan{fill:#76e3ea}}
</style>""")
    print(f'<rect class="ground" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>')
    print(f'<text class="dim" x="{MARGIN}" y="22">{html.escape(title)}</text>')
    for row, line in enumerate(lines):
        x, y = float(MARGIN), BAR + (row + 1) * HEIGHT - 4
        for run, classes in spans(line):
            style = f' class="{classes}"' if classes else ""
            if run.strip():
                print(f'<text{style} x="{x:.1f}" y="{y}" textLength="{len(run) * WIDTH:.1f}" lengthAdjust="spacing">{html.escape(run)}</text>')
            x += len(run) * WIDTH
    print("</svg>")


if __name__ == "__main__":
    main()
