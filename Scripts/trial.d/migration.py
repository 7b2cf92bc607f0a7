"""A journey of the Linux guest, from its boot to the verdict."""

import operator
import time

import monitor
import watcher
import ways
from monitor import Failed

BOOT_LIMIT = 240
# A guest in a busy emulated host is late by seconds; a timer that was lost is not told for good.
TIMER_LIMIT_MS = 60000
# Before a post-copy on a link without a limit: its passes last for seconds, so the command comes within the one meant.
PASSES_BYTES_PER_SECOND = 32 * 10**6


class Trial:
    """A guest's journey; run() fills result with what was measured, or throws Failed."""

    def __init__(self, options, guest, places):
        self.options, self.guest, self.places = options, guest, places
        self.monitors = []
        self.result = {"hops": []}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in self.monitors:
            each.close()

    def run(self):
        source = self.add_monitor(self.options.at, self.options.monitor)
        self.boot(source)
        for index, hop in enumerate(self.options.hops):
            source = self.move(hop, source, self.options.port + index)
        self.end(source)

    def move(self, hop, source, port):
        """Moves the guest on; returns the monitor that has it now."""
        destination = self.add_monitor(hop.place, hop.monitor or source.kind)
        kind = StoredHop if hop.mode == "saved" else LiveHop
        kind(self.options, hop, source, destination, port, self.result["hops"]).run()
        source.close()
        return destination

    def add_monitor(self, place, kind):
        self.monitors.append(
            monitor.KINDS[kind](kind, self.places.find(place), len(self.monitors), self.options, self.guest))
        return self.monitors[-1]

    def boot(self, source):
        started = time.monotonic()
        source.start()
        when, match = source.wait_for("the workload's first line", r"^workload: start(.*)", BOOT_LIMIT)
        self.result["first_line_s"] = round(when - started, 1)
        words = dict(word.split("=", 1) for word in match.group(1).split())
        self.result.update({key: words.get(key) for key in ("processors", "registers", "clock")})
        if int(words["processors"]) != self.options.cpus:
            raise Failed(f"the guest has {words['processors']} processors, not {self.options.cpus}")
        source.wait_for("the workload at work", r"^workload: t=.* dirtied=[1-9]", BOOT_LIMIT, count=2)

    def end(self, last):
        """Everything is checked once more, then the guest switches itself off."""
        last.type("poweroff")
        self.check_end(last)
        last.expect_end(60)

    def check_end(self, last, count=1):
        """The workload's last line, the count-th, and every line before it must tell of no harm."""
        _, match = last.wait_for("the final check", r"^workload: (?:BAD )?end:? ?(.*)", 180, count)
        found = monitor.numbers(match.group(1))
        bad = {key: value for key, value in found.items()
               if value and (key.endswith("bad") or key in ("back", "disk_errors"))}
        complaints = [line for each in self.monitors for line in each.complaints()]
        if bad or complaints:
            raise Failed(f"the workload found {bad or 'errors'}: {'; '.join(complaints[:5])}")
        for result, key in (("checked_pages", "checked"), ("registers_held", "held"), ("timers_fired", "timers")):
            self.result[result] = int(found[key])
            if not found[key]:
                raise Failed(f"nothing was done of {result}")
        if self.options.disk:
            self.result["checked_blocks"] = int(found.get("disk_checked", 0))
            if not self.result["checked_blocks"]:
                raise Failed("the disk was never checked")


class Hop:
    """One move; run() appends what was measured to results."""

    def __init__(self, options, hop, source, destination, port, results):
        self.options, self.hop, self.source, self.destination, self.port = options, hop, source, destination, port
        self.result = {"mode": hop.mode, "transport": hop.transport, "from": str(source), "to": str(destination)}
        self.is_postcopy = hop.mode in ("postcopy", "hybrid")
        results.append(self.result)

    def run(self):
        with watcher.Watchers(self.options, self.source.place, self.source.number) as watchers:
            self.started = time.monotonic()
            self.move()
            self.settle()
            self.result.update(watchers.results())

    def prepare(self, *sides):
        options = self.options
        capabilities = ["events", *options.capability]
        parameters = {"downtime-limit": options.downtime_limit, "max-bandwidth": int(options.bandwidth * 1e6) or 10**12}
        if self.hop.mode != "saved" and (self.hop.transport != "exec" or self.source.kind == "apus"):
            capabilities.append("return-path")  # without it a source counts only its own part of the downtime
        if self.is_postcopy:
            capabilities += ["postcopy-ram", "hybrid"] if self.hop.mode == "hybrid" else ["postcopy-ram"]
            parameters["downtime-limit"] = 1  # or pre-copy may end the migration before post-copy starts
            if not options.bandwidth and options.postcopy_pass > 1:
                parameters.update({"max-bandwidth": PASSES_BYTES_PER_SECOND, "max-postcopy-bandwidth": 0})
        if self.hop.mode == "multifd":
            capabilities.append("multifd")
            parameters["multifd-channels"] = options.channels
        for side in sides:
            # A monitor that was a destination has the capabilities of that hop still.
            known = {"postcopy-ram", "multifd", "auto-converge", "return-path", *capabilities}
            if side.kind == "apus":
                known.add("hybrid")
            wanted = [{"capability": name, "state": name in capabilities} for name in sorted(known)]
            side.qmp.command("migrate-set-capabilities", capabilities=wanted)
            side.qmp.command("migrate-set-parameters", **parameters)

    def migrate(self, uri):
        """From the command to the end; fills in what the source's monitor says."""
        options, qmp = self.options, self.source.qmp
        started = time.monotonic()
        qmp.command("migrate", uri=uri)
        is_postcopy, throttle = False, 0
        while True:
            state = qmp.command("query-migrate")
            throttle = max(throttle, state.get("cpu-throttle-percentage", 0))
            memory = state.get("ram", {})
            if state.get("status") in ("completed", "failed", "cancelled"):
                time.sleep(0.2)  # QEMU 7.2 counts up after it has said so
                state = qmp.command("query-migrate")
                memory = state.get("ram", {})
                break
            if self.hop.mode == "postcopy" and not is_postcopy and memory.get(
                    "dirty-sync-count", 0) >= options.postcopy_pass:
                qmp.command("migrate-start-postcopy")
                is_postcopy = True
            if time.monotonic() - started > options.limit:
                raise Failed(f"the migration is {state.get('status')} after {options.limit:.0f} s, pass "
                             f"{memory.get('dirty-sync-count')}, {memory.get('remaining')} bytes remain: "
                             f"{state.get('error-desc', 'no reason given')}")
            time.sleep(0.05)
        if state["status"] != "completed":
            raise Failed(f"the migration is {state['status']}: {state.get('error-desc', 'no reason given')}")
        if self.is_postcopy and not any(data.get("status") == "postcopy-active"
                                        for _, name, data in qmp.events if name == "MIGRATION"):
            raise Failed("the migration ended as a pre-copy")
        self.result.update({
            "wall_s": round(time.monotonic() - started, 2), "total_ms": state.get("total-time"),
            "downtime_ms": state.get("downtime"), "setup_ms": state.get("setup-time"),
            "passes": memory.get("dirty-sync-count"), "bytes": memory.get("transferred"),
            "page_requests": memory.get("postcopy-requests", 0), "normal_pages": memory.get("normal"),
            "zero_pages": memory.get("duplicate"), "throttle": throttle,
            "downtime_parts_us": state.get("downtime-parts")})

    def measure_stop(self):
        """From the source's STOP to the destination's RESUME by the monitors' own clocks, which are one on one host; and,
        of a post-copy, from there to the last page, and what the destination counted."""
        stopped, resumed = self.source.qmp.moment("STOP"), self.destination.qmp.moment("RESUME")
        if self.source.place is self.destination.place and stopped and resumed:
            self.result["stop_to_resume_ms"] = round(1e3 * (resumed - stopped), 1)
        if self.is_postcopy:
            complete = self.destination.qmp.moment("MIGRATION", status="completed")
            self.result["last_page_ms"] = round(1e3 * (complete - resumed), 1) if complete and resumed else None
            self.result["postcopy"] = self.destination.qmp.command("query-migrate").get("postcopy")

    def settle(self):
        """The guest must be at work at the destination, for some seconds of its own reports."""
        self.destination.wait_for("the workload's reports", monitor.REPORT, 90, count=1 + self.options.settle)
        # A busy host keeps a thread waiting for a second now and then, but not for good.
        self.destination.wait_for("all of the workload's threads at work", r"^workload: t=.* stalled=0$", 90)
        status = self.destination.qmp.command("query-status")["status"]
        if status != "running":
            raise Failed(f"the guest is {status} at the destination")
        before, reports = self.source.reports()[-1][1], [numbers for _, numbers in self.destination.reports()]
        after = reports[-1]
        for key, what in (("dirtied", "pages dirtied"), ("held", "registers held"), ("timers", "timers told")):
            if after[key] <= before[key] and not (key == "dirtied" and self.options.rate == "0"):
                raise Failed(f"the workload does not go on: {before[key]:.0f} {what}, now {after[key]:.0f}")
        if after["t"] < before["t"]:
            raise Failed(f"the guest's clock went from {before['t']} back to {after['t']} s")
        # The report of the second in which it moved comes first; a slow guest shows the gap in the next one.
        self.result["guest_gap_ms"] = max(report["gap_ms"] for report in reports[:2])
        self.result["timer_late_ms"] = max(report["late_ms"] for report in reports)
        if self.result["timer_late_ms"] > TIMER_LIMIT_MS:
            raise Failed(f"a timer was told {self.result['timer_late_ms']:.0f} ms late")
        self.measure_ticks()
        self.measure_stop()

    def measure_ticks(self):
        """How long the guest was away as its ticks show from outside; and the longest such time without a move."""
        before, after = self.source.ticks(), self.destination.ticks()
        if len(before) > 1 and after:
            (last, number), (first, next_number) = before[-1], after[0]
            lost = (next_number - number - 1) * self.options.tick  # the line in the middle of which it moved
            self.result["tick_gap_ms"] = round(1e3 * (first - last) - lost, 1)
            recent = [when for when, _ in before[-200:]]
            self.result["usual_tick_gap_ms"] = round(1e3 * max(map(operator.sub, recent[1:], recent)), 1)


class LiveHop(Hop):
    """Both monitors run, and the stream goes from one to the other."""

    def move(self):
        self.destination.start("defer")
        self.prepare(self.source, self.destination)
        channels = self.options.channels if self.hop.mode == "multifd" else 0
        departure, arrival = ways.prepare(self.hop.transport, self.source, self.destination, self.port, channels)
        self.started = time.monotonic()
        self.destination.qmp.command("migrate-incoming", uri=arrival)
        self.migrate(departure)


class StoredHop(Hop):
    """The guest goes into a file, its monitor ends, and a new one takes the guest from there."""

    def measure_stop(self):
        """Nothing: the new monitor has the session of the old one, whose events are gone. load_s tells of the time."""

    def move(self):
        departure, arrival, written, read = ways.stored(self.hop.transport, self.source, self.destination, self.port)
        self.prepare(self.source)
        self.migrate(departure)
        self.source.qmp.command("quit")
        self.source.expect_end(60)
        ways.carry(self.source, self.destination, written, read)
        is_near = self.source.place is self.destination.place
        self.destination.start(arrival, self.source.give_up_session() if is_near else None)
        # The event may be older than the session.
        limit = time.monotonic() + 60
        while (status := self.destination.qmp.command("query-status")["status"]) != "running":
            if time.monotonic() > limit:
                raise Failed(f"the guest is {status} at the destination, 60 s after its start")
            time.sleep(0.05)
        self.result["load_s"] = round(time.monotonic() - self.started - self.result["wall_s"], 2)
        self.destination.place.run("rm", read)
