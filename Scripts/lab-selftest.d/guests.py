"""Linux under `apus run` in a lab host: boots, ends, and is saved and loaded."""

import os
import sys
import time

from ground import SCRIPTS, check

sys.path.insert(1, str(SCRIPTS / "trial.d"))
sys.path.insert(1, str(SCRIPTS / "lab.d"))

import migration  # noqa: E402
import monitor  # noqa: E402
import places  # noqa: E402
import settings  # noqa: E402
import watcher  # noqa: E402

SMALL = ["--at", "a", "--monitor", "apus", "--memory", "128", "--work", "8", "--rate", "5", "--hops", "precopy:a"]


class Journey:
    """A trial driven step by step; a failure of the trial is the test's."""

    def __init__(self, hosts, *words):
        os.environ["APUS_LAB"] = hosts.environment["APUS_LAB"]
        self.options = settings.parser().parse_args([*SMALL, *words])
        self.options.hops = settings.hops_of(self.options)

    def __enter__(self):
        self.places = places.Places()
        self.trial = migration.Trial(self.options, settings.guest_files(), self.places)
        self.trial.__enter__()
        return self.trial

    def __exit__(self, kind, error, _):
        self.trial.__exit__()
        self.places.__exit__()
        if isinstance(error, monitor.Failed):
            raise AssertionError(str(error)) from None


def booted(trial):
    guest = trial.add_monitor("a", "apus")
    trial.boot(guest)
    print(f"      {trial.options.kernel} on {trial.options.cpus}: first line after {trial.result['first_line_s']} s, "
          f"clock {trial.result['clock']}")
    return guest


def new_disk(hosts):
    path = f"{hosts.environment['APUS_LAB']}/shared/guests.raw"
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    return path


def expect_reset(trial, guest, cause):
    """The guest starts from its first instruction again, and its workload, too."""
    data = guest.qmp.wait_for_event("RESET", 60)
    check(data == {"guest": cause.startswith("guest"), "reason": cause}, f"RESET says {data}")
    guest.wait_for("the workload's first line again", r"^workload: start", migration.BOOT_LIMIT, count=2)
    guest.wait_for("the workload at work again", r"^workload: t=.* dirtied=[1-9]", migration.BOOT_LIMIT,
                   count=len(guest.reports()) + 1)
    check(guest.qmp.command("query-status")["status"] == "running", "the guest does not run after its reset")


def expect_power_off(trial, guest, count=1):
    """The workload's checks are clean and the guest switches itself off: an event, and status 0."""
    trial.check_end(guest, count)
    data = guest.qmp.wait_for_event("SHUTDOWN", 60)
    check(data == {"guest": True, "reason": "guest-shutdown"}, f"SHUTDOWN says {data}")
    guest.expect_end(60)


def an_elf_kernel_on_one_cpu_uses_disk_and_network_reboots_and_powers_off(hosts):
    words = ["--cpus", "1", "--network", "10.77.0.50", "--disk", new_disk(hosts)]
    with Journey(hosts, *words) as trial:
        guest = booted(trial)
        received = hosts.on("a", "ping -c 5 -i 0.2 -W 10 10.77.0.50").stdout
        check(" 5 received" in received, received)
        with watcher.Watchers(trial.options, guest.place, "boot") as watchers:
            lines = len(guest.reports())
            guest.wait_for("reports", monitor.REPORT, 60, count=lines + 3)
            seen = watchers.results()
        print(f"      network: {seen}")
        check(seen["stream"]["lines"] > 20 and seen["ping"]["sent"] > seen["ping"]["lost"], f"the network: {seen}")
        report = guest.reports()[-1][1]
        check(report["disk_written"] > 32 and report["disk_checked"] > 0, f"the disk: {report}")
        guest.type("reboot")
        expect_reset(trial, guest, "guest-reset")
        guest.type("poweroff")
        expect_power_off(trial, guest, count=2)
    written = os.stat(trial.options.disk).st_blocks * 512
    check(written > 1 << 20, f"{written} bytes have reached the image")


def an_elf_kernel_on_two_cpus_ends_when_its_power_button_is_pressed(hosts):
    with Journey(hosts, "--cpus", "2") as trial:
        guest = booted(trial)
        guest.qmp.command("system_powerdown")
        guest.qmp.wait_for_event("POWERDOWN", 60)
        guest.wait_for("the button", r"^workload: power button", 60)
        expect_power_off(trial, guest)


def an_elf_kernel_boots_on_four_cpus(hosts):
    with Journey(hosts, "--cpus", "4") as trial:
        trial.end(booted(trial))


def a_bzimage_boots_on_one_cpu(hosts):
    with Journey(hosts, "--cpus", "1", "--kernel", "kernel") as trial:
        trial.end(booted(trial))


def a_bzimage_on_two_cpus_resets_itself_by_acpi(hosts):
    # Later than the reboot=t of all guests, which makes the processor shut down.
    with Journey(hosts, "--cpus", "2", "--kernel", "kernel", "--append", "reboot=acpi") as trial:
        guest = booted(trial)
        guest.type("reboot")
        expect_reset(trial, guest, "guest-reset")
        guest.type("poweroff")
        expect_power_off(trial, guest, count=2)


def a_bzimage_on_four_cpus_is_reset_from_outside(hosts):
    with Journey(hosts, "--cpus", "4", "--kernel", "kernel") as trial:
        guest = booted(trial)
        guest.qmp.command("system_reset")
        expect_reset(trial, guest, "host-qmp-system-reset")
        guest.type("poweroff")
        expect_power_off(trial, guest)


def a_guest_at_work_is_saved_and_loaded_twenty_times_in_a_row(hosts):
    """Files and commands, each time into a new monitor; two CPUs, a disk, registers, clocks and timers at work."""
    hops = ",".join("saved/exec:a" if number % 4 == 3 else "saved/file:a" for number in range(20))
    started = time.monotonic()
    with Journey(hosts, "--cpus", "2", "--disk", new_disk(hosts), "--hops", hops, "--settle", "1") as trial:
        trial.run()
    hops = trial.result["hops"]
    check(len(hops) == 20, f"{len(hops)} times of 20")
    late = [hop["timer_late_ms"] for hop in hops]
    print(f"      {time.monotonic() - started:.0f} s in all; saved in {median([hop['total_ms'] for hop in hops])} ms; "
          f"latest timer {max(late)} ms, median {median(late)} ms; registers {trial.result['registers']} held "
          f"{trial.result['registers_held']} times, {trial.result['checked_blocks']} blocks checked")


def median(values):
    return sorted(values)[len(values) // 2]


BOOTS = [an_elf_kernel_on_one_cpu_uses_disk_and_network_reboots_and_powers_off,
         an_elf_kernel_on_two_cpus_ends_when_its_power_button_is_pressed, an_elf_kernel_boots_on_four_cpus,
         a_bzimage_boots_on_one_cpu, a_bzimage_on_two_cpus_resets_itself_by_acpi,
         a_bzimage_on_four_cpus_is_reset_from_outside]
SAVES = [a_guest_at_work_is_saved_and_loaded_twenty_times_in_a_row]
