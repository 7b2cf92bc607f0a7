internal import MigrationRecords
internal import QMP

/// What changed in the course of one migration, for its pictures. Times in seconds from its start, memory in MiB.
struct MoveSeries: Equatable {
    struct Point: Equatable {
        var time: Double
        var value: Double
    }

    /// A part of the time in which the source's monitor was in one state.
    struct Phase: Equatable {
        var name: String
        var start: Double
        var end: Double
    }

    /// What one pass sent.
    struct Pass: Equatable {
        var number: Int
        var normalPageCount: Int
        var zeroPageCount: Int
        /// What post-copy sent is not a pass; it is shown as one.
        var isPostcopy = false
    }

    /// MiB a second, each for the time since the point before.
    var bandwidth: [Point] = []
    var dirtyRate: [Point] = []
    var remaining: [Point] = []
    /// Percent.
    var throttle: [Point] = []
    /// Percent of the speed before the migration, each for the time since the point before.
    var guestSpeed: [Point] = []
    var phases: [Phase] = []
    var passes: [Pass] = []
    /// When no side ran the guest, by the monitors' events; nil when they do not tell.
    var stop: ClosedRange<Double>?
    /// When the source was done.
    var end = 0.0

    init(of move: Move) {
        guard let record = move.record else { return }
        let samples = record.samples.filter { $0.side == .source }.map { (time: $0.time / .seconds(1), info: $0.info) }
        end = (record.end ?? record.duration) / .seconds(1)
        addMemory(samples)
        addPhases(record)
        addStop(record)
        guestSpeed = (move.guest?.speeds ?? []).map { Point(time: $0.time / .seconds(1), value: $0.speed * 100) }
    }

    private mutating func addMemory(_ samples: [(time: Double, info: MigrationInfo)]) {
        var last: (time: Double, memory: RAMStatistics, isPostcopy: Bool) = (0, RAMStatistics(), false)
        // A sixtieth of the whole: shorter spans show how the kernel schedules, not how memory moves.
        let span = max(0.02, end / 60)
        var rateStart = (time: 0.0, byteCount: UInt64(0))
        for (time, info) in samples {
            guard let memory = info.ram, memory.transferred >= last.memory.transferred else { continue }
            let isPostcopy = info.status?.rawValue.hasPrefix("postcopy") ?? false
            let isLast = info.status?.hasEnded == true
            if time - rateStart.time >= span || (isLast && time - rateStart.time >= 0.002) {
                let rate = Double(memory.transferred - rateStart.byteCount) / (time - rateStart.time) / 1_048_576
                bandwidth.append(Point(time: min(time, end), value: rate))
                rateStart = (time, memory.transferred)
            }
            count(memory, since: last.memory, isPostcopy: last.isPostcopy || isPostcopy)
            // In post-copy nothing is tracked any more; what stands there is of the last sync.
            if !isPostcopy && !last.isPostcopy && (memory.dirtyPagesRate > 0 || !dirtyRate.isEmpty) {
                let rate = Double(memory.dirtyPagesRate) * Double(memory.pageSize) / 1_048_576
                dirtyRate.append(Point(time: min(time, end), value: rate))
            }
            remaining.append(Point(time: min(time, end), value: Double(memory.remaining) / 1_048_576))
            if let percentage = info.cpuThrottlePercentage {
                throttle.append(Point(time: min(time, end), value: Double(percentage)))
            }
            last = (time, memory, isPostcopy || last.isPostcopy)
            if isLast { break }
        }
    }

    /// Pages since the last sample belong to the pass that was under way then.
    private mutating func count(_ memory: RAMStatistics, since last: RAMStatistics, isPostcopy: Bool) {
        let normal = Int(clamping: memory.normal) - Int(clamping: last.normal)
        let zero = Int(clamping: memory.duplicate) - Int(clamping: last.duplicate)
        guard normal > 0 || zero > 0 else { return }
        let number = max(1, Int(clamping: isPostcopy ? memory.dirtySyncCount : max(1, last.dirtySyncCount)))
        if let index = passes.firstIndex(where: { $0.isPostcopy == isPostcopy && (isPostcopy || $0.number == number) })
        {
            passes[index].normalPageCount += max(0, normal)
            passes[index].zeroPageCount += max(0, zero)
        } else {
            passes.append(
                Pass(
                    number: number, normalPageCount: max(0, normal), zeroPageCount: max(0, zero), isPostcopy: isPostcopy
                ))
        }
    }

    private mutating func addPhases(_ record: MigrationRecord) {
        var states = record.notices.filter { $0.side == .source && $0.event.name == "MIGRATION" }
            .compactMap { notice in
                notice.event.data?["status"]?.stringValue.map { (time: notice.time / .seconds(1), name: $0) }
            }
        if states.isEmpty {
            // A monitor whose events are not on: the samples tell, less exactly.
            for sample in record.samples where sample.side == .source {
                guard let name = sample.info.status?.rawValue, name != states.last?.name else { continue }
                states.append((sample.time / .seconds(1), name))
            }
        }
        for (index, state) in states.enumerated() {
            if MigrationStatus(rawValue: state.name)?.hasEnded ?? true { continue }
            let next = index + 1 < states.count ? states[index + 1].time : end
            phases.append(Phase(name: state.name, start: max(0, state.time), end: max(0, min(next, end))))
        }
    }

    private mutating func addStop(_ record: MigrationRecord) {
        func time(_ name: String, _ side: MigrationRecord.Side) -> Double? {
            guard let stamp = record.notices.last(where: { $0.side == side && $0.event.name == name })?.event.timestamp
            else { return nil }
            let seconds = Double(stamp.seconds - record.start.seconds)
            return seconds + Double(stamp.microseconds - record.start.microseconds) / 1e6
        }
        guard let start = time("STOP", .source), let end = time("RESUME", .destination), start >= 0, end >= start else {
            return
        }
        stop = start...end
    }
}
