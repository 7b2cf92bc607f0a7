"""One migration of the Linux guest, from its boot to the verdict."""

import time

import monitor
import watcher
from monitor import Failed

BOOT_LIMIT = 240


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
        source = self.add_monitor(self.options.at)
        self.boot(source)
        for index, (mode, place) in enumerate(self.options.hops):
            destination = self.add_monitor(place)
            Hop(self.options, mode, source, destination, self.options.port + index, self.result["hops"]).run()
            source.close()
            source = destination
        self.end(source)

    def add_monitor(self, place):
        self.monitors.append(monitor.Monitor(self.places.find(place), len(self.monitors), self.options, self.guest))
        return self.monitors[-1]

    def boot(self, source):
        started = time.monotonic()
        source.start()
        when, _ = source.wait_for("the workload's first line", r"^workload: start", BOOT_LIMIT)
        self.result["first_line_s"] = round(when - started, 1)
        source.wait_for("the workload at work", r"^workload: t=.* dirtied=[1-9]", BOOT_LIMIT, count=2)

    def end(self, last):
        """Everything is checked once more, then the guest switches itself off."""
        last.type("poweroff")
        _, match = last.wait_for("the final check", r"^workload: (?:BAD )?end:? ?(.*)", 180)
        found = monitor.numbers(match.group(1))
        bad = {key: value for key, value in found.items()
               if value and (key.endswith("bad") or key in ("back", "disk_errors"))}
        complaints = [line for each in self.monitors for line in each.complaints()]
        if bad or complaints:
            raise Failed(f"the workload found {bad or 'errors'}: {'; '.join(complaints[:5])}")
        self.result["checked_pages"] = int(found["checked"])
        self.result["registers_held"] = int(found["held"])
        if self.options.disk:
            self.result["checked_blocks"] = int(found.get("disk_checked", 0))
            if not self.result["checked_blocks"]:
                raise Failed("the disk was never checked")
        last.wait_for("the guest's end", r"\(the monitor ended\)", 60)


class Hop:
    """One migration; run() appends what was measured to results."""

    def __init__(self, options, mode, source, destination, port, results):
        self.options, self.mode, self.source, self.destination = options, mode, source, destination
        self.uri = options.uri or f"tcp:{destination.place.address}:{port}"
        self.result = {"mode": mode, "from": source.place.name, "to": destination.place.name}
        results.append(self.result)

    def run(self):
        self.prepare()
        with watcher.Watchers(self.options, self.source.place, self.source.number) as watchers:
            self.migrate()
            self.settle()
            self.result.update(watchers.results())

    def prepare(self):
        options = self.options
        self.destination.start(is_destination=True)
        capabilities = ["events", *options.capability]
        parameters = {"downtime-limit": options.downtime_limit, "max-bandwidth": int(options.bandwidth * 1e6) or 10**12}
        if self.mode == "postcopy":
            capabilities.append("postcopy-ram")
            parameters["downtime-limit"] = 1  # or pre-copy may end the migration before post-copy starts
        if self.mode == "multifd":
            capabilities.append("multifd")
            parameters["multifd-channels"] = options.channels
        for side in (self.source, self.destination):
            # A monitor that was a destination has the capabilities of that hop still.
            wanted = [{"capability": name, "state": name in capabilities}
                      for name in sorted({"postcopy-ram", "multifd", *capabilities})]
            side.qmp.command("migrate-set-capabilities", capabilities=wanted)
            side.qmp.command("migrate-set-parameters", **parameters)
        self.destination.qmp.command("migrate-incoming", uri=self.uri)

    def migrate(self):
        options, qmp = self.options, self.source.qmp
        started = time.monotonic()
        qmp.command("migrate", uri=self.uri)
        is_postcopy = False
        while True:
            state = qmp.command("query-migrate")
            memory = state.get("ram", {})
            if state.get("status") in ("completed", "failed", "cancelled"):
                time.sleep(0.2)  # QEMU 7.2 counts up after it has said so
                state = qmp.command("query-migrate")
                memory = state.get("ram", {})
                break
            if self.mode == "postcopy" and not is_postcopy and memory.get("dirty-sync-count", 0) >= 2:
                qmp.command("migrate-start-postcopy")
                is_postcopy = True
            if time.monotonic() - started > options.limit:
                raise Failed(f"the migration is {state.get('status')} after {options.limit:.0f} s, pass "
                             f"{memory.get('dirty-sync-count')}, {memory.get('remaining')} bytes remain")
            time.sleep(0.05)
        if state["status"] != "completed":
            raise Failed(f"the migration is {state['status']}: {state.get('error-desc', 'no reason given')}")
        if self.mode == "postcopy" and not any(data.get("status") == "postcopy-active"
                                               for _, name, data in qmp.events if name == "MIGRATION"):
            raise Failed("the migration ended as a pre-copy")
        self.result.update({
            "wall_s": round(time.monotonic() - started, 2), "total_ms": state.get("total-time"),
            "downtime_ms": state.get("downtime"), "setup_ms": state.get("setup-time"),
            "passes": memory.get("dirty-sync-count"), "bytes": memory.get("transferred"),
            "page_requests": memory.get("postcopy-requests", 0), "normal_pages": memory.get("normal"),
            "zero_pages": memory.get("duplicate")})

    def settle(self):
        """The guest must be at work at the destination, for some seconds of its own reports."""
        self.destination.wait_for("the workload's reports", r"^workload: t=", 90, count=1 + self.options.settle)
        status = self.destination.qmp.command("query-status")["status"]
        if status != "running":
            raise Failed(f"the guest is {status} at the destination")
        before, reports = self.source.reports()[-1][1], [numbers for _, numbers in self.destination.reports()]
        after = reports[-1]
        if after["dirtied"] <= before["dirtied"] and self.options.rate != "0":
            raise Failed(f"the workload does not go on: {before['dirtied']:.0f} pages dirtied, now "
                         f"{after['dirtied']:.0f}")
        if after["t"] < before["t"]:
            raise Failed(f"the guest's clock went from {before['t']} back to {after['t']} s")
        if after["stalled"]:
            raise Failed(f"{after['stalled']:.0f} of the workload's threads stand still")
        # The report of the second in which it moved comes first; a slow guest shows the gap in the next one.
        self.result["guest_gap_ms"] = max(report["gap_ms"] for report in reports[:2])
