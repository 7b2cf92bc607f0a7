"""QEMU moves the Linux guest: the ground for the monitors that come after it."""

import json
import subprocess

from ground import SCRIPTS, check


def trial(hosts, *arguments):
    """One journey of a guest; returns its measurements."""
    result = subprocess.run([str(SCRIPTS / "trial"), "--json", *arguments], env=hosts.environment, capture_output=True,
                            text=True, stdin=subprocess.DEVNULL)
    found = json.loads(result.stdout or '{"hops": []}')
    keys = ("mode", "from", "to", "total_ms", "downtime_ms", "passes", "bytes", "page_requests", "guest_gap_ms",
            "stream", "ping")
    for hop in found["hops"]:
        print("      " + " ".join(f"{key}={hop[key]}" for key in keys if key in hop))
    check(result.returncode == 0, result.stderr.strip())
    print("      " + " ".join(f"{key}={value}" for key, value in found.items() if key != "hops"))
    return found


def qemu_moves_the_guest_on_one_host_and_between_hosts_by_precopy_and_postcopy(hosts):
    """One guest with a disk and a network: every hop starts from what the one before it left."""
    path = f"{hosts.environment['APUS_LAB']}/shared/disk.raw"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    hops = ["precopy:a", "postcopy:a", "precopy:b", "postcopy:a"]
    found = trial(hosts, "--at", "a", "--hops", ",".join(hops), "--network", "10.77.0.50", "--disk", path)
    check(len(found["hops"]) == len(hops), f"{len(found['hops'])} hops of {len(hops)}")
    check(all(hop["bytes"] > 16 << 20 for hop in found["hops"]), "a hop sent less than the workload's memory")
    check(all(hop["passes"] >= 2 for hop in found["hops"] if hop["mode"] == "precopy"), "a pre-copy in one pass")
    check(found["checked_pages"] > 32768, f"only {found['checked_pages']} pages were checked")
    check(found["first_line_s"] < 60, f"the guest's first line came after {found['first_line_s']} s")


def a_spoilt_bit_is_noticed(hosts):
    """Without this, every clean check above could be a check that never fails."""
    built = subprocess.run([str(SCRIPTS / "guest")], capture_output=True, text=True, check=True).stdout
    workload = built.split("WORKLOAD=")[1].split()[0]
    process = subprocess.Popen([workload, "memory=4", "rate=200", "registers=off"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    lines = iter(process.stdout.readline, "")
    next(line for line in lines if line.startswith("workload: t="))
    process.stdin.write("spoil\n")
    process.stdin.flush()
    next(line for line in lines if "workload: BAD memory: page" in line)
    process.stdin.write("poweroff\n")
    process.stdin.flush()
    end = next(line for line in lines if line.startswith("workload: end"))
    process.wait()
    check(" bad=1 " in end, end)


TESTS = [a_spoilt_bit_is_noticed, qemu_moves_the_guest_on_one_host_and_between_hosts_by_precopy_and_postcopy]
