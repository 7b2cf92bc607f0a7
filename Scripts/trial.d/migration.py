"""One migration of the Linux guest, from its boot to the verdict."""

import time

import monitor
import watcher
from monitor import Failed

BOOT_LIMIT = 240


class Trial:
    """Source, destination and guest; run() returns what was measured, or throws Failed."""

    def __init__(self, options, guest, source_place, destination_place):
        self.options = options
        self.source = monitor.Monitor(source_place, "source", options, guest)
        self.destination = monitor.Monitor(destination_place, "destination", options, guest)
        self.result = {"mode": options.mode}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.source.close()
        self.destination.close()

    def run(self):
        self.boot()
        self.prepare()
        with watcher.Watchers(self.options, self.source.place) as watchers:
            self.migrate()
            self.settle()
            self.result.update(watchers.results())
        self.end()
        return self.result

    def boot(self):
        started = time.monotonic()
        self.source.start()
        when, _ = self.source.wait_for("the workload's first line", r"^workload: start", BOOT_LIMIT)
        self.result["first_line_s"] = round(when - started, 1)
        self.source.wait_for("the workload at work", r"^workload: t=.* dirtied=[1-9]", BOOT_LIMIT, count=2)

    def prepare(self):
        options = self.options
        self.destination.start(is_destination=True)
        capabilities = ["events", *options.capability]
        if options.mode == "postcopy":
            capabilities.append("postcopy-ram")
        if options.mode == "multifd":
            capabilities.append("multifd")
        parameters = {"downtime-limit": options.downtime_limit, "max-bandwidth": int(options.bandwidth * 1e6) or 10**12}
        if options.mode == "multifd":
            parameters["multifd-channels"] = options.channels
        for side in (self.source, self.destination):
            side.qmp.command("migrate-set-capabilities",
                             capabilities=[{"capability": name, "state": True} for name in capabilities])
            side.qmp.command("migrate-set-parameters", **parameters)
        self.uri = options.uri or f"tcp:{self.destination.place.address}:{options.port}"
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
                break
            if options.mode == "postcopy" and not is_postcopy and memory.get("dirty-sync-count", 0) >= 2:
                qmp.command("migrate-start-postcopy")
                is_postcopy = True
            if time.monotonic() - started > options.limit:
                raise Failed(f"the migration is {state.get('status')} after {options.limit:.0f} s, pass "
                             f"{memory.get('dirty-sync-count')}, {memory.get('remaining')} bytes remain")
            time.sleep(0.05)
        if state["status"] != "completed":
            raise Failed(f"the migration is {state['status']}: {state.get('error-desc', 'no reason given')}")
        self.migrated = time.monotonic()
        self.result.update({
            "wall_s": round(self.migrated - started, 2), "total_ms": state.get("total-time"),
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
        before, after = self.source.reports()[-1][1], self.destination.reports()[-1][1]
        if after["dirtied"] <= before["dirtied"] and self.options.rate != "0":
            raise Failed(f"the workload does not go on: {before['dirtied']:.0f} pages dirtied, now {after['dirtied']:.0f}")
        if after["t"] < before["t"]:
            raise Failed(f"the guest's clock went from {before['t']} back to {after['t']} s")
        if after["stalled"]:
            raise Failed(f"{after['stalled']:.0f} of the workload's threads stand still")
        # The first whole second after the move may still hold the gap.
        self.result["guest_gap_ms"] = max(report["gap_ms"] for _, report in self.destination.reports()[:2])

    def end(self):
        """Everything is checked once more, then the guest switches itself off."""
        self.destination.type("poweroff")
        _, match = self.destination.wait_for("the final check", r"^workload: end (.*)", 120)
        last = monitor.numbers(match.group(1))
        bad = {key: value for key, value in last.items() if value and (key.endswith("bad") or key in ("back", "disk_errors"))}
        complaints = self.source.complaints() + self.destination.complaints()
        if bad or complaints:
            raise Failed(f"the workload found {bad or 'errors'}: {'; '.join(complaints[:5])}")
        self.result["checked_pages"] = int(last["checked"])
        if "disk_checked" in last:
            self.result["checked_blocks"] = int(last["disk_checked"])
            if not last["disk_checked"]:
                raise Failed("the disk was never checked")
        self.destination.wait_for("the guest's end", r"\(the monitor ended\)", 60)
