internal import LinuxSystem
internal import MigrationRecords
internal import QMP
internal import QMPClient

extension MigrationRun {
    /// Sets both sides up and lets a deferred destination listen; the address that the source is to be told.
    func prepare(passing descriptor: PassedDescriptor?) async throws -> String {
        if plan.resumes { return try await prepareRecovery() }
        try checkSides()
        var plan = plan
        if case .hybrid = plan.mode {
            let offered = try await MigrationPlan.offeredCapabilities(of: source)
            if offered["hybrid"] != nil { plan.enable("hybrid", for: "--hybrid") } else { decidesHybrid = true }
        }
        if let destination { try await plan.apply(to: destination) }
        try await plan.apply(to: source)
        record.capabilities = try await MigrationPlan.offeredCapabilities(of: source).filter(\.value).keys.sorted()
        record.parameters = try await source.prepare("query-migrate-parameters").objectValue ?? QMPObject()
        try await handOver(descriptor)
        return try await listen() ?? plan.address
    }

    private func checkSides() throws {
        guard let destination else { return }
        guard destination.runState == .incomingMigration else {
            let state = destination.runState?.rawValue ?? "in an unknown state"
            throw PreparationError("\(destination.title) does not wait for a guest: it is \(state).")
        }
        let (here, there) = (source.monitor.virtualCPUCount, destination.monitor.virtualCPUCount)
        guard here == there else {
            throw PreparationError("The source has \(here) virtual CPUs and the destination \(there).")
        }
    }

    /// The name after `fd:`, nil for other addresses.
    private var descriptorName: String? {
        plan.address.hasPrefix("fd:") ? String(plan.address.dropFirst(3)) : nil
    }

    /// Gives the monitors what an `fd:` address names: the caller's descriptor to the source, or a connection to both.
    private func handOver(_ descriptor: PassedDescriptor?) async throws {
        guard let name = descriptorName else {
            if descriptor != nil { throw PreparationError("A descriptor is passed for an address fd:NAME only.") }
            return
        }
        if let descriptor {
            try await source.pass([descriptor], named: name)
        } else if let destination, Int32(name) == nil, plan.listenAddress == nil {
            for name in [name] + (0..<plan.moreConnectionsCount).map({ "\(name)-\($0 + 1)" }) {
                let pair = try Socket.pair()
                try await source.pass([PassedDescriptor(try pair.first.descriptor.duplicate())], named: name)
                try await destination.pass([PassedDescriptor(try pair.second.descriptor.duplicate())], named: name)
            }
        }
    }

    /// Lets a destination that was told to wait for it listen; where it really does, if that is not where it was told.
    private func listen() async throws -> String? {
        guard let destination, !plan.isThroughFile else { return nil }
        var answer = try await destination.prepare("query-migrate")
        let status = answer["status"]?.stringValue
        if status == nil || status == "none" {
            let address = plan.listenAddress ?? plan.address
            try await destination.prepare("migrate-incoming", ["uri": .string(address)])
            answer = try await destination.prepare("query-migrate")
        } else if status != "setup" {
            throw PreparationError("\(destination.title) does not wait for a guest: its migration is \(status ?? "").")
        }
        // Port 0 asked for a free one.
        guard plan.address.hasPrefix("tcp:"), plan.address.hasSuffix(":0"),
            let port = answer["socket-address"]?.arrayValue?.first?["port"]?.stringValue
        else { return nil }
        return plan.address.dropLast() + port
    }

    /// Lets the destination of a paused post-copy listen again.
    private func prepareRecovery() async throws -> String {
        if let destination {
            try await destination.prepare(
                "migrate-recover", ["uri": .string(plan.listenAddress ?? plan.address)], isOutOfBand: true)
        }
        return plan.address
    }
}

extension MigrationPlan {
    /// Connections beside the main one.
    fileprivate var moreConnectionsCount: Int {
        let channelCount = parameters.first { $0.name == "multifd-channels" }?.value.integerValue ?? 2
        return (enables("multifd") ? Int(channelCount) : 0) + (enables("postcopy-preempt") ? 1 : 0)
    }

    /// Whether the destination reads what the source has written before, so that it has to wait for all of it.
    var isThroughFile: Bool { address.hasPrefix("file:") }
}

extension MonitorLink {
    /// Hands descriptors over under `name`.
    fileprivate func pass(_ descriptors: [PassedDescriptor], named name: String) async throws {
        do {
            try await client.execute("getfd", ["fdname": .string(name)], passing: descriptors)
        } catch { throw PreparationError("\(title) does not take the descriptor '\(name)': \(error)") }
    }
}
