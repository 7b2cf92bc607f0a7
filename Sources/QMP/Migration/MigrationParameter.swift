/// The name of one number, word or switch that tunes a migration. The order is that of QEMU's description.
public enum MigrationParameter: String, Sendable, CaseIterable {
    case announceInitial = "announce-initial"
    case announceMaximum = "announce-max"
    case announceRounds = "announce-rounds"
    case announceStep = "announce-step"
    case compressLevel = "compress-level"
    case compressThreads = "compress-threads"
    case compressWaitThread = "compress-wait-thread"
    case decompressThreads = "decompress-threads"
    case throttleTriggerThreshold = "throttle-trigger-threshold"
    case cpuThrottleInitial = "cpu-throttle-initial"
    case cpuThrottleIncrement = "cpu-throttle-increment"
    case cpuThrottleTailslow = "cpu-throttle-tailslow"
    case tlsCredentials = "tls-creds"
    case tlsHostname = "tls-hostname"
    case tlsAuthorization = "tls-authz"
    case maximumBandwidth = "max-bandwidth"
    case downtimeLimit = "downtime-limit"
    case checkpointDelay = "x-checkpoint-delay"
    case blockIncremental = "block-incremental"
    case multifdChannels = "multifd-channels"
    case xbzrleCacheSize = "xbzrle-cache-size"
    case maximumPostcopyBandwidth = "max-postcopy-bandwidth"
    case maximumCPUThrottle = "max-cpu-throttle"
    case multifdCompression = "multifd-compression"
    case multifdZlibLevel = "multifd-zlib-level"
    case multifdZstdLevel = "multifd-zstd-level"
    case blockBitmapMapping = "block-bitmap-mapping"
    case vcpuDirtyLimitPeriod = "x-vcpu-dirty-limit-period"
    case vcpuDirtyLimit = "vcpu-dirty-limit"
    case availableSwitchoverBandwidth = "avail-switchover-bandwidth"
    case mode
    case zeroPageDetection = "zero-page-detection"
    case directIO = "direct-io"
    /// When passes end, an addition of Apus.
    case ending
    /// With `hybrid`, the most passes before post-copy begins, an addition of Apus.
    case hybridPassLimit = "hybrid-pass-limit"
    /// Write faults that a stunned virtual CPU may take in a period.
    case stunWriteFaults = "stun-write-faults"
    /// That period, in milliseconds.
    case stunPeriod = "stun-period"

    /// Those of QEMU 7.2.
    public static let ofQEMU72 = Array(allCases.prefix { $0 != .vcpuDirtyLimitPeriod })

    /// What the value is.
    enum Kind: Equatable {
        /// An integer without sign of so many bits, within a range; `limit` is QEMU's wording of the range.
        case unsigned(bitCount: Int, range: ClosedRange<UInt64>, limit: String, standard: UInt64)
        case bool(standard: Bool)
        case word(oneOf: [String], standard: String)
        /// A string, null meaning "".
        case text
        /// A list that is kept as it is, absent at first.
        case list
    }

    var kind: Kind {
        switch self {
        case .announceInitial: .value(64, 0...100_000, 50)
        case .announceMaximum: .value(64, 0...100_000, 550)
        case .announceRounds: .value(64, 0...1000, 5)
        case .announceStep:
            .unsigned(bitCount: 64, range: 1...10_000, limit: "a value between 0 and 10000", standard: 100)
        case .compressLevel: .value(8, 0...9, 1)
        case .compressThreads: .value(8, 1...255, 8)
        case .compressWaitThread: .bool(standard: true)
        case .decompressThreads: .value(8, 1...255, 2)
        case .throttleTriggerThreshold: .integer(8, 1...100, 50)
        case .cpuThrottleInitial: .integer(8, 1...99, 20)
        case .cpuThrottleIncrement: .integer(8, 1...99, 10)
        case .cpuThrottleTailslow: .bool(standard: false)
        case .tlsCredentials, .tlsHostname, .tlsAuthorization: .text
        case .maximumBandwidth: .value(64, 0...UInt64.max, 128 << 20)
        case .downtimeLimit:
            .unsigned(
                bitCount: 64, range: 0...2_000_000, limit: "an integer in the range of 0 to (2000 * 1000) ms",
                standard: 300)
        case .checkpointDelay: .value(32, 0...UInt64(UInt32.max), 20_000)
        case .blockIncremental: .bool(standard: false)
        case .multifdChannels: .value(8, 1...255, 2)
        case .xbzrleCacheSize:
            .unsigned(
                bitCount: 64, range: 4096...(1 << 62), limit: "a power of two no less than the target page size",
                standard: 64 << 20)
        case .maximumPostcopyBandwidth: .value(64, 0...UInt64.max, 0)
        case .maximumCPUThrottle:
            .unsigned(
                bitCount: 8, range: 1...99, limit: "an integer in the range of cpu_throttle_initial to 99",
                standard: 99)
        case .multifdCompression: .word(oneOf: ["none", "zlib", "zstd"], standard: "none")
        case .multifdZlibLevel: .value(8, 0...9, 1)
        case .multifdZstdLevel: .value(8, 0...20, 1)
        case .blockBitmapMapping: .list
        case .vcpuDirtyLimitPeriod: .value(64, 1...1000, 1000)
        case .vcpuDirtyLimit: .value(64, 1...UInt64.max, 1)
        case .availableSwitchoverBandwidth: .value(64, 0...UInt64.max, 0)
        case .mode: .word(oneOf: ["normal"], standard: "normal")
        case .zeroPageDetection: .word(oneOf: ["none", "legacy", "multifd"], standard: "multifd")
        case .directIO: .bool(standard: false)
        case .hybridPassLimit: .value(16, 0...1000, 8)
        case .stunWriteFaults: .value(32, 1...1_000_000, 40)
        case .stunPeriod: .value(32, 1...1000, 10)
        case .ending: .word(oneOf: ["downtime-limit", "classic"], standard: "downtime-limit")
        }
    }
}

extension MigrationParameter.Kind {
    fileprivate static func value(_ bitCount: Int, _ range: ClosedRange<UInt64>, _ standard: UInt64) -> Self {
        .unsigned(
            bitCount: bitCount, range: range, limit: "a value between \(range.lowerBound) and \(range.upperBound)",
            standard: standard)
    }

    fileprivate static func integer(_ bitCount: Int, _ range: ClosedRange<UInt64>, _ standard: UInt64) -> Self {
        .unsigned(
            bitCount: bitCount, range: range,
            limit: "an integer in the range of \(range.lowerBound) to \(range.upperBound)", standard: standard)
    }
}
