"""The Linux guest moves between Apus monitors in the lab: a part of lab-matrix in which each way, each number of
virtual CPUs and each rate occurs."""

import os
import sys

from ground import SCRIPTS, check

sys.path.insert(1, str(SCRIPTS / "trial.d"))

import matrix  # noqa: E402
import settings  # noqa: E402

ON_ONE_HOST, BETWEEN_HOSTS = False, True


def run(hosts, cpus, *moves, network=""):
    os.environ["APUS_LAB"] = hosts.environment["APUS_LAB"]
    made = matrix.Matrix(settings.newest_apus(), network=network)
    made.run(cpus, [matrix.Move(*move) for move in moves])
    check(not made.failures, "; ".join(made.failures))
    check(len(made.moves) == len(moves), f"{len(made.moves)} moves of {len(moves)}")
    # A tick is late when the lab is; it is never early.
    early = [matrix.line(move) for move in made.live() if move["tick_gap_ms"] < move["downtime_ms"] - matrix.TICK_MS]
    check(not early, f"the guest was away for less than its downtime: {early}")
    live, agreeing = made.live(), made.agreeing()
    print(f"      gap and downtime agree within the longest usual gap in {len(agreeing)} of {len(live)} live moves")
    check(len(agreeing) * 2 >= len(live), f"gap and downtime agree in {len(agreeing)} of {len(live)} moves only")
    return made.moves


def a_guest_with_one_cpu_and_a_low_rate_moves_by_unix_multifd_over_tcp_exec_and_a_file(hosts):
    run(hosts, 1, ("low", "precopy", "unix", ON_ONE_HOST), ("low", "multifd", "tcp", BETWEEN_HOSTS),
        ("low", "precopy", "exec", BETWEEN_HOSTS), ("low", "saved", "file", ON_ONE_HOST))


def a_guest_with_two_cpus_and_a_medium_rate_moves_by_fd_and_multifd_over_unix_and_its_clients_stay(hosts):
    moves = run(hosts, 2, ("medium", "precopy", "fd", BETWEEN_HOSTS), ("medium", "multifd", "unix", ON_ONE_HOST),
                network="10.77.0.50")
    check(all(move["stream"]["wrong"] == 0 and move["stream"]["lines"] > 10 for move in moves), f"the clients: {moves}")


def a_guest_with_four_cpus_that_dirties_more_than_the_link_takes_moves_by_tcp_and_exec(hosts):
    moves = run(hosts, 4, ("above", "precopy", "tcp", ON_ONE_HOST), ("above", "precopy", "exec", BETWEEN_HOSTS))
    check(all(move["passes"] > 2 for move in moves), f"a guest that dirties this much needs passes: {moves}")


TESTS = [a_guest_with_one_cpu_and_a_low_rate_moves_by_unix_multifd_over_tcp_exec_and_a_file,
         a_guest_with_two_cpus_and_a_medium_rate_moves_by_fd_and_multifd_over_unix_and_its_clients_stay]
# More than a host of two emulated processors can do beside other work: its timers are minutes late then.
ABOVE = [a_guest_with_four_cpus_that_dirties_more_than_the_link_takes_moves_by_tcp_and_exec]
