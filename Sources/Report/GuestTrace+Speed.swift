/// How fast the guest worked.
extension GuestTrace {
    /// Units of work done at `time`, between two looks in proportion. Nil when there are no looks around it.
    func work(at time: Duration) -> Double? {
        guard let next = looks.firstIndex(where: { $0.time >= time }) else { return nil }
        if looks[next].time == time { return Double(looks[next].work) }
        guard next > 0 else { return nil }
        let (before, after) = (looks[next - 1], looks[next])
        let share = (time - before.time) / (after.time - before.time)
        return Double(before.work) + share * Double(after.work - before.work)
    }

    /// Units a second before the migration; nil when too little was seen of that.
    var rateBefore: Double? {
        let before = looks.filter { $0.time <= .zero }
        guard let first = before.first, let last = before.last, last.time - first.time >= .milliseconds(100) else {
            return nil
        }
        let rate = Double(last.work - first.work) / ((last.time - first.time) / .seconds(1))
        return rate > 0 ? rate : nil
    }

    /// The mean speed over `range`, 1 being that before the migration.
    func speed(over range: ClosedRange<Duration>) -> Double? {
        guard range.upperBound > range.lowerBound, let rateBefore,
            let start = work(at: range.lowerBound), let end = work(at: range.upperBound)
        else { return nil }
        return (end - start) / ((range.upperBound - range.lowerBound) / .seconds(1)) / rateBefore
    }

    /// Speeds between looks: (until when, the speed from the point before until then).
    var speeds: [(time: Duration, speed: Double)] {
        guard let rateBefore else { return [] }
        return zip(looks, looks.dropFirst()).compactMap { before, after in
            guard after.time > before.time else { return nil }
            let rate = Double(after.work - before.work) / ((after.time - before.time) / .seconds(1))
            return (after.time, max(0, rate / rateBefore))
        }
    }

    /// The usual time between two looks.
    var period: Duration {
        let steps = zip(looks, looks.dropFirst()).map { $1.time - $0.time }.sorted()
        return steps.isEmpty ? .zero : steps[steps.count / 2]
    }

    /// The looks that tell of the time between the start of a migration and `end`: a gap is in the line that follows it.
    func looks(until end: Duration) -> [Look] {
        looks.filter { $0.time > .zero && $0.time <= end + period * 2 }
    }
}
