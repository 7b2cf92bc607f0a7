import Migration

/// A guest described by how much it dirties in a given time, moved over a link of a given speed by a given policy.
///
/// No clock: a pass of V bytes takes V / bandwidth, and the guest dirties `dirtied(start, duration)` meanwhile. The
/// throttle slows the guest down as it would: by its percentage, or to its limit.
struct SyntheticSeries {
    var memoryByteCount: Int
    /// Bytes per second.
    var bandwidth: Double
    /// Bytes dirtied in `duration` seconds from `start` on, by an unthrottled guest that runs `speed` as fast.
    var dirtied: (_ start: Double, _ duration: Double, _ speed: Double) -> Double
    var fixedDowntime: Duration = .zero
    var virtualCPUCount = 1

    struct Outcome {
        var decisions: [Decision] = []
        var passes: [PassStatistics] = []
        var sentByteCounts: [Int] { passes.map(\.sentByteCount) }
        /// Bytes left when it ended, over the bandwidth, and the fixed part.
        var downtime: Duration = .zero
        var totalTime: Double = 0
    }

    func run(_ policy: MigrationPolicy, maximumPassCount: Int = 1000) -> Outcome {
        var policy = policy
        var outcome = Outcome()
        var remaining = memoryByteCount
        var time = 0.0
        var throttle = GuestThrottle.none
        for pass in 1...maximumPassCount {
            let duration = Double(remaining) / bandwidth
            let dirtied = Int(limited(time, duration, throttle)) / 4096 * 4096
            time += duration
            let statistics = PassStatistics(
                pass: pass, duration: .seconds(duration), elapsed: .seconds(time), sentPageCount: remaining / 4096,
                sentByteCount: remaining, dirtiedPageCount: dirtied / 4096, remainingByteCount: dirtied,
                backPressure: BackPressure(byteCount: remaining, duration: .seconds(duration)),
                fixedDowntime: fixedDowntime,
                dirtiedPageCounts: (0..<virtualCPUCount).map { $0 == 0 ? dirtied / 4096 : 0 })
            remaining = dirtied
            outcome.passes.append(statistics)
            let decision = policy.decide(after: statistics)
            outcome.decisions.append(decision)
            switch decision {
            case .anotherPass: continue
            case .throttle(let newThrottle): throttle = newThrottle
            case .switchOver, .goPostcopy, .giveUp:
                outcome.downtime = .seconds(Double(remaining) / bandwidth) + fixedDowntime
                outcome.totalTime = time + Double(remaining) / bandwidth
                return outcome
            }
        }
        return outcome
    }

    private func limited(_ start: Double, _ duration: Double, _ throttle: GuestThrottle) -> Double {
        switch throttle {
        case .none: dirtied(start, duration, 1)
        case .percentage(let percentage): dirtied(start, duration, Double(100 - percentage) / 100)
        case .stun(let limit, let period):
            min(
                dirtied(start, duration, 1),
                Double(limit * 4096 * virtualCPUCount) * duration
                    / (Double(period.components.attoseconds) * 1e-18 + Double(period.components.seconds)))
        case .dirtyLimit(let limits):
            limits[0].map { min(dirtied(start, duration, 1), Double($0) * duration) } ?? dirtied(start, duration, 1)
        }
    }

    /// Every write hits a clean page: `rate` bytes a second for ever.
    static func uniform(memory: Int, bandwidth: Double, rate: Double) -> SyntheticSeries {
        SyntheticSeries(memoryByteCount: memory, bandwidth: bandwidth) { _, duration, speed in
            min(Double(memory), rate * speed * duration)
        }
    }

    /// Writes fall into a working set: U(t) = W (1 - exp(-r t / W)), by its series so that no libm is needed.
    static func hotSet(memory: Int, bandwidth: Double, workingSet: Double, rate: Double) -> SyntheticSeries {
        SyntheticSeries(memoryByteCount: memory, bandwidth: bandwidth) { _, duration, speed in
            let x = rate * speed * duration / workingSet
            // (1 - x/n)^n for n = 2^20 is exp(-x) within 1e-6 for the x used here.
            var power = max(0, 1 - x / 1_048_576)
            for _ in 0..<20 { power *= power }
            return workingSet * (1 - power)
        }
    }
}

let mebibyte = 1 << 20
let gibibyte = 1 << 30
