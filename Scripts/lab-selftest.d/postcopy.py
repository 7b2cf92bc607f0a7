"""The Linux guest under Apus moves by post-copy: on one host and between two, and over a link that goes away."""

import json
import time

from ground import check
from guests import Journey, new_disk

CAPABILITIES = ["--capability", "postcopy-preempt"]
# More than the link carries, so that pages are missing for seconds.
ABOVE = ["--rate", "40", "--bandwidth", "10", "--postcopy-pass", "1"]


def show(hop):
    counts = hop.get("postcopy") or {}
    print("      " + " ".join(f"{key}={value}" for key, value in {
        "transport": hop["transport"], "from": hop["from"], "to": hop["to"], "total_ms": hop["total_ms"],
        "downtime_ms": hop["downtime_ms"], "stop_to_resume_ms": hop.get("stop_to_resume_ms"),
        "last_page_ms": hop.get("last_page_ms"), "requests": hop["page_requests"], "faults": counts.get("faults"),
        "method": counts.get("method")}.items()))


def journey(hosts, cpus, ways, *words, mode="postcopy"):
    hops = ",".join(f"{mode}/{way}" for way in ways)
    with Journey(hosts, "--cpus", str(cpus), "--work", "32", "--settle", "1", "--hops", hops, *ABOVE, *words) as trial:
        trial.run()
    for hop in trial.result["hops"]:
        show(hop)
    check(len(trial.result["hops"]) == len(ways), f"{len(trial.result['hops'])} moves of {len(ways)}")
    return trial.result["hops"]


def a_guest_that_writes_more_than_the_link_carries_moves_by_postcopy_between_hosts_and_monitors(hosts):
    hops = journey(hosts, 2, ["tcp:b", "tcp:a"], "--disk", new_disk(hosts), *CAPABILITIES)
    check(any(hop["page_requests"] for hop in hops), "no page was ever asked for")
    journey(hosts, 1, ["unix:a", "fd:a", "exec:a"])


def four_processors_move_by_postcopy(hosts):
    journey(hosts, 4, ["tcp:a"], *CAPABILITIES)


def a_guest_that_writes_more_than_the_link_carries_moves_by_hybrid_between_hosts_and_monitors(hosts):
    hops = journey(hosts, 2, ["tcp:b", "tcp:a"], "--disk", new_disk(hosts), *CAPABILITIES, mode="hybrid")
    check(all(hop["passes"] > 1 for hop in hops), "no pass came before the post-copy")
    journey(hosts, 1, ["unix:a", "fd:a", "exec:a"], mode="hybrid")
    journey(hosts, 4, ["tcp:a"], mode="hybrid")


def a_postcopy_whose_link_goes_away_for_seconds_goes_on_over_a_new_one(hosts):
    """netem loses everything; migrate-pause tells the source of it, TCP's own time limit would take minutes."""
    with Journey(hosts, "--cpus", "2", "--work", "32", "--settle", "1", "--hops", "postcopy:b", *ABOVE,
                 *CAPABILITIES) as trial:
        source = trial.add_monitor("a", "apus")
        trial.boot(source)
        destination = trial.add_monitor("b", "apus")
        destination.start("defer")
        names = ["events", "return-path", "postcopy-ram", "postcopy-preempt"]
        for side in (source, destination):
            side.qmp.command("migrate-set-capabilities",
                             capabilities=[{"capability": name, "state": True} for name in names])
            side.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10**7, "max-postcopy-bandwidth": 4 * 10**6})
        destination.qmp.command("migrate-incoming", uri="tcp:10.77.0.2:5300")
        source.qmp.command("migrate", uri="tcp:10.77.0.2:5300")
        wait_for(source, "active")
        source.qmp.command("migrate-start-postcopy")
        wait_for(source, "postcopy-active")
        for number in range(2):
            hosts.net("cut")
            time.sleep(2)
            for side in (source, destination):
                if status(side) == "postcopy-active":
                    side.qmp.command("migrate-pause")
            for side in (source, destination):
                wait_for(side, "postcopy-paused")
            missing = source.qmp.command("query-migrate")["ram"]["remaining"]
            check(missing > 0, "everything was there before the link went away")
            hosts.net("heal")
            address = f"tcp:10.77.0.2:{5301 + number}"
            destination.qmp.command("migrate-recover", uri=address)
            source.qmp.command("migrate", uri=address, resume=True)
            wait_for(source, "postcopy-active", "completed")
            print(f"      cut {number + 1}: {missing >> 20} MiB were still missing")
        wait_for(source, "completed")
        wait_for(destination, "completed")
        found = destination.qmp.command("query-migrate")["postcopy"]
        print(f"      {json.dumps(found)[:160]}")
        check(found["recoveries"] >= 1 and found["missing-pages"] == 0, f"{found}")
        trial.end(destination)


def status(side):
    return side.qmp.command("query-migrate").get("status")


def wait_for(side, *expected):
    limit = time.monotonic() + 180
    while (found := status(side)) not in expected:
        check(found not in ("failed", "cancelled"), f"{side.role}: {found}: {side.qmp.command('query-migrate')}")
        check(time.monotonic() < limit, f"{side.role} is {found}, not {' or '.join(expected)}")
        time.sleep(0.05)


TESTS = [a_guest_that_writes_more_than_the_link_carries_moves_by_postcopy_between_hosts_and_monitors,
         four_processors_move_by_postcopy,
         a_guest_that_writes_more_than_the_link_carries_moves_by_hybrid_between_hosts_and_monitors,
         a_postcopy_whose_link_goes_away_for_seconds_goes_on_over_a_new_one]
