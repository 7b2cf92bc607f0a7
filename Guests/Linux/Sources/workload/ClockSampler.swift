import CWorkload
import Glibc
import Synchronization

/// Looks at the clock again and again: the longest time between two looks is how long the guest stood still, as far
/// as its own clock shows.
func sampleClock(every microseconds: Int, _ counters: Counters) {
    var last = counters.time()
    while true {
        if microseconds > 0 { sleep(nanoseconds: Int64(microseconds) * 1000) }
        let time = counters.time()
        counters.checkWallTime()
        let gap = time - last
        counters.gap.max(gap, ordering: .relaxed)
        counters.longestGap.max(gap, ordering: .relaxed)
        last = time
    }
}

/// Writes a line with its number and the guest's clock at a steady pace, for a watcher with a clock of its own.
func tick(every milliseconds: Int, on port: String) {
    let descriptor = open(port, O_WRONLY | O_NOCTTY)
    guard descriptor >= 0 else { return say("workload: no \(port) to tick on") }
    var number = 0
    while writeAll("tick \(number) \(now() / 1000)\n", to: descriptor) {
        number += 1
        sleep(nanoseconds: Int64(milliseconds) * 1_000_000)
    }
}

/// A periodic timer of a processor of its own: each period must be told, and soon after it is over.
func watchTimer(every milliseconds: Int, processor: Int, _ counters: Counters) {
    let period = Int64(milliseconds) * 1_000_000
    let start = now()
    let descriptor = workload_make_timer(start + period, period)
    guard descriptor >= 0 else { return say("workload: BAD timer: none can be made, error \(-descriptor)") }
    var count: Int64 = 0
    while true {
        let fired = workload_wait_for_timer(descriptor)
        guard fired > 0 else { return say("workload: BAD timer: it cannot be read, error \(-fired)") }
        count += fired
        counters.timersFired.add(Int(fired), ordering: .relaxed)
        // Of the periods that are over the first was due longest ago.
        let delay = now() - start - (count - fired + 1) * period
        counters.timerDelay.max(delay, ordering: .relaxed)
        counters.longestTimerDelay.max(delay, ordering: .relaxed)
        if delay < 0 { say("workload: BAD timer: processor \(processor), \(-delay) ns too early") }
    }
}

/// Ends the guest when somebody presses its power button.
func watchPowerButton(_ end: @escaping @Sendable () -> Void) {
    let descriptor = workload_open_power_button()
    guard descriptor >= 0 else { return say("workload: no power button") }
    if workload_wait_for_power_button(descriptor) == 0 {
        say("workload: power button")
        end()
    }
}

/// Holds values in the AVX (SSE without it) and x87 registers while time passes, and checks that they are still there.
func holdRegisters(processor: Int, _ counters: Counters) {
    let hasAVX = workload_has_avx()
    var round: UInt64 = 0
    while true {
        round += 1
        let seed = Pages.mix(UInt64(processor) << 56 | round)
        let words = (0..<UInt64(WORKLOAD_REGISTER_WORDS)).map { Pages.mix(seed &+ $0) }
        let changed = workload_hold_registers(words, hasAVX, 20_000, 20_000_000)
        counters.registersHeld.add(1, ordering: .relaxed)
        guard changed != 0 else { continue }
        let bad = counters.registersBad.add(1, ordering: .relaxed).newValue
        if bad <= 5 {
            say("workload: BAD registers: processor \(processor), mask \(String(changed, radix: 16))")
        }
    }
}
