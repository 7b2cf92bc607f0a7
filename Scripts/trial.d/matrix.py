"""The Linux guest at work moves between Apus monitors in many ways; one guest for each number of virtual CPUs."""

import collections
import os

import migration
import monitor
import places
import settings

# MB/s dirtied, MB/s of the link (0: no limit), capabilities
RATES = {"low": ("1", 0, []), "medium": ("10", 0, []), "above": ("60", 20, ["auto-converge"])}
TICK_MS = 20
Move = collections.namedtuple("Move", "rate mode transport is_between_hosts")


class Matrix:
    """Makes moves, keeps what was measured of each in `moves`, and why some failed in `failures`."""

    def __init__(self, apus, channels=4, network=""):
        self.apus, self.channels, self.network = apus, channels, network
        self.moves, self.failures, self.port = [], [], 4444

    def run(self, cpus, moves):
        """A failed move costs its guest; another one goes on behind it."""
        rest = collections.deque(moves)
        while rest:
            print(f"      {cpus} CPUs: {self.journey(cpus, rest)}", flush=True)

    def journey(self, cpus, rest):
        """One guest's, until a move fails; what came of it."""
        words = ["--at", "a", "--monitor", "apus", "--memory", "128", "--work", "32", "--rate", "1", "--tick",
                 str(TICK_MS), "--cpus", str(cpus), "--apus", self.apus, "--channels", str(self.channels), "--settle", "1",
                 "--limit", "400", "--disk", new_disk(), "--network", self.network]
        options = settings.parser().parse_args(words)
        move = None
        with places.Places() as ground, migration.Trial(options, settings.guest_files(), ground) as trial:
            try:
                guest = trial.add_monitor("a", "apus")
                trial.boot(guest)
                while rest:
                    move = rest.popleft()
                    guest = self.move(trial, guest, options, move)
                move = None
                trial.end(guest)
            except monitor.Failed as error:
                what = f"{move.rate} {move.mode}/{move.transport}" if move else "before or after its moves"
                self.failures.append(f"{cpus} CPUs, {what}: {error}")
                if not self.moves and move is None:
                    rest.clear()  # not even the first guest boots
                return f"FAIL {what}: {error}"
            result = trial.result
            return (f"clean; {result['checked_pages']} pages and {result['checked_blocks']} blocks checked, registers "
                    f"({result['registers']}) held {result['registers_held']} times, {result['timers_fired']} timers")

    def move(self, trial, guest, options, move):
        rate, options.bandwidth, options.capability = RATES[move.rate]
        if options.rate != rate:
            options.rate = rate
            before = len(guest.reports())
            guest.type(f"rate {rate}")
            guest.wait_for("the rate", rf"^workload: did rate {rate}$", 180)
            guest.wait_for("reports at the new rate", monitor.REPORT, 180, count=before + 2)
        place = guest.place.host
        other = ("b" if place == "a" else "a") if move.is_between_hosts else place
        dirtied = guest.reports()[-1][1]["rate"]
        guest = trial.move(settings.Hop(move.mode, move.transport, other, "apus"), guest, self.port)
        self.port += 1
        hop = {"cpus": options.cpus, "rate": move.rate, "guest_rate": dirtied, **trial.result["hops"][-1]}
        self.moves.append(hop)
        print(f"      {line(hop)}", flush=True)
        return guest

    def has(self, cpus, move):
        """Whether such a move was made."""
        place = "between hosts" if move.is_between_hosts else "on one host"
        return any((hop["cpus"], hop["rate"], hop["mode"], hop["transport"], where(hop)) ==
                   (cpus, move.rate, move.mode, move.transport, place) for hop in self.moves)

    def live(self):
        return [move for move in self.moves if move["mode"] != "saved" and "tick_gap_ms" in move]

    def agreeing(self):
        """Live moves whose gap, seen from outside, is the downtime within what the measure is worth."""
        return [move for move in self.live()
                if abs(move["tick_gap_ms"] - move["downtime_ms"]) <= TICK_MS + move["usual_tick_gap_ms"]]


def line(hop):
    return (f"cpus={hop['cpus']} rate={hop['rate']} {hop['mode']}/{hop['transport']} {where(hop)}: "
            f"guest_MB/s={hop['guest_rate']} total_ms={hop['total_ms']} passes={hop['passes']} MB={hop['bytes'] / 1e6:.0f} "
            f"throttle={hop['throttle']} downtime_ms={hop['downtime_ms']} gap_ms={hop.get('tick_gap_ms')} "
            f"usual_ms={hop.get('usual_tick_gap_ms')} timer_late_ms={hop['timer_late_ms']}")


def where(hop):
    return "between hosts" if hop["from"] != hop["to"] else "on one host"


def new_disk():
    path = f"{os.environ['APUS_LAB']}/shared/matrix.raw"
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    return path
