"""What a benchmark promises, as lines that `Scripts/bench all` collects into its table."""

import os
import platform
import statistics


class Promises:
    """Prints a line for each promise, and remembers those that do not hold."""

    def __init__(self):
        self.failures = []

    def hold(self, what, value, limit, at_least=True):
        """None is a value that could not be measured, which holds nothing."""
        word = "at least" if at_least else "at most"
        # What is printed is what is judged: a table that shows 0.90 for "at most 0.9" must not say that it fails.
        shown = None if value is None else round(value, 2)
        good = shown is not None and (shown >= limit if at_least else shown <= limit)
        print(f"  {'holds' if good else 'FAILS':5}  {what}: {'unknown' if shown is None else format(shown, '.2f')}, "
              f"{word} {limit} is promised", flush=True)
        if not good:
            self.failures.append(what)


def median(values):
    values = list(values)
    return statistics.median(values) if values else None


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "?")
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} processors ({model}), Linux {platform.release()}, load {load:.1f}"


def clock():
    """The guest's clock in kHz: what it measures itself on a busy host is off by a few percent."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        return int(next(float(line.split(":")[1]) for line in info if line.startswith("cpu MHz")) * 1000)
