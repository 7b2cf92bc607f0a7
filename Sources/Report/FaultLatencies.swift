internal import MigrationRecords
internal import QMP

/// How long the guest waited for missing pages in post-copy, as the destination's monitor counted.
///
/// Read from `query-migrate`: `postcopy` is Apus' own (`faults`, `latency` with p50, p99 and max in microseconds,
/// `latency-counts`); `postcopy-latency-dist` is QEMU's from 10.1 on: counts, bucket n is for 2^n to 2^(n+1) microseconds.
struct FaultLatencies: Equatable {
    var count: Double
    var median: Double?
    var percentile99: Double?
    var maximum: Double?
    /// Bucket n counts those that took less than 2^n microseconds, and not less than half of that.
    var buckets: [Double]

    init?(_ record: MigrationRecord) {
        let answers = record.samples.reversed().filter { $0.side == .destination }.map(\.answer)
        let own = answers.lazy.compactMap { $0["postcopy"] }.first { $0["faults"] != nil }
        let latency = own?["latency"]
        if let counts = own?["latency-counts"]?.arrayValue {
            buckets = counts.compactMap(\.doubleValue)
        } else {
            let counts = answers.lazy.compactMap { $0["postcopy-latency-dist"]?.arrayValue }.first ?? []
            buckets = counts.isEmpty ? [] : [0] + counts.compactMap(\.doubleValue)
        }
        let sum = buckets.reduce(0, +)
        guard own != nil || sum > 0 else { return nil }
        count = own?["faults"]?.doubleValue ?? sum
        // Of nothing there is no median.
        guard count > 0 else { return }
        median = latency?["p50"]?.doubleValue ?? Self.quantile(0.5, buckets)
        percentile99 = latency?["p99"]?.doubleValue ?? Self.quantile(0.99, buckets)
        maximum = latency?["max"]?.doubleValue
    }

    /// The upper end of the bucket in which the quantile is.
    private static func quantile(_ share: Double, _ buckets: [Double]) -> Double? {
        let limit = buckets.reduce(0, +) * share
        var sum = 0.0
        var upper = 1.0
        for count in buckets {
            sum += count
            if sum > 0 && sum >= limit { return upper }
            upper *= 2
        }
        return nil
    }
}
