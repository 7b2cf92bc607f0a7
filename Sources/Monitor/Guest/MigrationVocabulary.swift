internal import LinuxSystem
internal import Migration
internal import QMP
internal import Transports

/// QMP's words for a migration in the engine's types.
extension MigrationOptions {
    init(_ settings: MigrationSettings) {
        self.init()
        let capabilities = settings.capabilities
        let parameters = settings.parameters
        dialect = StreamDialect(settings)
        maximumBandwidth = Int(clamping: parameters.maximumBandwidth ?? 0)
        hasReturnPath = capabilities.has(.returnPath)
        awaitsSwitchoverAcknowledgement = capabilities.has(.switchoverAck)
        pausesBeforeSwitchover = capabilities.has(.pauseBeforeSwitchover)
        validatesUUID = capabilities.has(.validateUUID)
        allowsPostcopy = capabilities.has(.postcopyRAM)
        maximumPostcopyBandwidth = Int(clamping: parameters.maximumPostcopyBandwidth ?? 0)
        if capabilities.has(.xbzrle) { xbzrleCacheByteCount = Int(clamping: parameters.number(.xbzrleCacheSize)) }
    }
}

extension StreamDialect {
    init(_ settings: MigrationSettings) {
        self.init()
        if settings.capabilities.has(.multifd) { channelCount = settings.parameters.multifdChannelCount }
        acknowledgesSwitchover = settings.capabilities.has(.switchoverAck)
        isLocal = settings.capabilities.has(.local)
        hasPreemptChannel = settings.capabilities.has(.postcopyPreempt)
        zeroPages = ZeroPageDetection(rawValue: settings.parameters.text(.zeroPageDetection)) ?? .byChannels
        switch settings.parameters.text(.multifdCompression) {
        case "zlib": compression = .zlib(level: Int(settings.parameters.number(.multifdZlibLevel)))
        case "zstd": compression = .zstd(level: Int(settings.parameters.number(.multifdZstdLevel)))
        default: break
        }
    }
}

extension EndingPolicy {
    init(_ parameters: MigrationParameters, isHybrid: Bool) {
        if isHybrid {
            var rule = HybridRule()
            rule.downtimeLimit = min(rule.downtimeLimit, parameters.downtimeLimit)
            rule.passLimit = Int(parameters.number(.hybridPassLimit))
            self = .hybrid(rule)
            return
        }
        if parameters.text(.ending) == "classic" {
            self = .classic(ClassicRule())
            return
        }
        var rule = DowntimeLimitRule()
        rule.limit = parameters.downtimeLimit
        rule.switchoverBandwidth = parameters.availableSwitchoverBandwidth.map { Int(clamping: $0) }
        self = .downtimeLimit(rule)
    }
}

extension MigrationPolicy {
    init(_ settings: MigrationSettings) {
        self.init(
            ending: EndingPolicy(settings.parameters, isHybrid: settings.capabilities.has(.hybrid)),
            throttling: ThrottlePolicy(settings))
    }
}

extension ThrottlePolicy {
    init(_ settings: MigrationSettings) {
        let parameters = settings.parameters
        var trigger = DirtyRateTrigger()
        trigger.threshold = Int(parameters.number(.throttleTriggerThreshold))
        if settings.capabilities.has(.autoConverge) {
            var throttle = AutoConverge()
            throttle.initial = Int(parameters.number(.cpuThrottleInitial))
            throttle.increment = Int(parameters.number(.cpuThrottleIncrement))
            throttle.maximum = Int(parameters.number(.maximumCPUThrottle))
            throttle.hasTailSlow = parameters.isOn(.cpuThrottleTailslow)
            throttle.downtimeLimit = parameters.downtimeLimit
            throttle.trigger = trigger
            self = .autoConverge(throttle)
        } else if settings.capabilities.has(.dirtyLimit) {
            var limit = DirtyLimit()
            limit.bytesPerSecond = Int(clamping: min(parameters.number(.vcpuDirtyLimit), 1 << 40) << 20)
            limit.trigger = trigger
            self = .dirtyLimit(limit)
        } else if settings.capabilities.has(.stun) {
            var stun = StunThrottle()
            stun.writeFaultLimit = Int(parameters.number(.stunWriteFaults))
            stun.period = .milliseconds(parameters.number(.stunPeriod))
            stun.threshold = trigger.threshold
            self = .stun(stun)
        } else {
            self = .off
        }
    }
}

extension MigrationInfo {
    mutating func fill(from statistics: MigrationStatistics) {
        totalTime = statistics.totalTime
        setupTime = statistics.setupTime
        if status == .completed {
            downtime = statistics.downtime
            var parts = QMP::DowntimeParts()
            parts.pause = statistics.downtimeParts.pause
            parts.lastSync = statistics.downtimeParts.lastSync
            parts.lastPages = statistics.downtimeParts.lastPages
            parts.save = statistics.downtimeParts.save
            parts.send = statistics.downtimeParts.send
            parts.disks = statistics.downtimeParts.disks
            parts.load = statistics.downtimeParts.load
            if statistics.downtimeParts.resume > .zero { parts.resume = statistics.downtimeParts.resume }
            if statistics.downtimeParts.announce > .zero { parts.announce = statistics.downtimeParts.announce }
            downtimeParts = parts
        } else {
            expectedDowntime = statistics.expectedDowntime
        }
        if case .percentage(let value) = statistics.throttle { cpuThrottlePercentage = value }
        guard status != .setup else { return }
        var memory = RAMStatistics()
        memory.transferred = UInt64(statistics.transferredByteCount)
        memory.remaining = status == .completed ? 0 : UInt64(statistics.remainingByteCount)
        memory.total = UInt64(statistics.totalByteCount)
        memory.duplicate = UInt64(statistics.zeroPageCount)
        memory.normal = UInt64(statistics.normalPageCount)
        memory.normalBytes = UInt64(statistics.normalPageCount) * 4096
        memory.dirtyPagesRate = UInt64(statistics.dirtyPageRate)
        memory.mbps = statistics.bitsPerSecond / 1e6
        memory.dirtySyncCount = UInt64(statistics.dirtySyncCount)
        memory.multifdBytes = UInt64(statistics.multifdByteCount)
        memory.pagesPerSecond = UInt64(statistics.pagesPerSecond)
        memory.precopyBytes = UInt64(statistics.precopyByteCount)
        memory.downtimeBytes = UInt64(statistics.downtimeByteCount)
        memory.postcopyBytes = UInt64(statistics.postcopyByteCount)
        memory.postcopyRequests = UInt64(statistics.postcopy.requestCount)
        ram = memory
        if let error = statistics.linkError { errorDescription = error }
        if statistics.phase.isPostcopy || statistics.postcopyReason != nil || statistics.postcopy.warning != nil {
            postcopy = PostcopyInformation(statistics)
        }
    }
}

extension MigrationListener {
    /// Where it really listens, as `query-migrate` tells.
    var boundAddresses: [QMPValue] {
        guard let listener = self as? SocketListener else { return [] }
        switch listener.boundAddress {
        case .tcp(let host, let port):
            return [["type": "inet", "host": .string(host.isEmpty ? "0.0.0.0" : host), "port": .string("\(port)")]]
        case .unix(let path): return [["type": "unix", "path": .string(path)]]
        }
    }
}
