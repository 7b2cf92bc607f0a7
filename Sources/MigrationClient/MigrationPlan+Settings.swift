internal import MigrationRecords
internal import QMP

/// Puts a plan's settings into force at one monitor.
extension MigrationPlan {
    /// Sets capabilities and parameters, as far as this side must know them.
    ///
    /// - Throws: `PreparationError` when the monitor does not know one, or refuses it. Nothing is changed then, but for
    ///   parameters that were set when capabilities are refused.
    func apply(to link: MonitorLink) async throws {
        let isSource = link.side == .source
        let offered = try await Self.offeredCapabilities(of: link)
        let known = try await link.prepare("query-migrate-parameters").objectValue ?? QMPObject()
        let wanted = capabilities.filter { isSource || Self.sharedCapabilities.contains($0.name) }
        for wish in wanted where offered[wish.name] == nil && wish.name != "events" {
            throw PreparationError(Self.unknown("capability", wish.name, wish.option, link))
        }
        let settings = parameters.filter { isSource || Self.sharedParameters.contains($0.name) }
        for wish in settings where known[wish.name] == nil {
            throw PreparationError(Self.unknown("parameter", wish.name, wish.option, link))
        }
        if !settings.isEmpty {
            try await link.prepare("migrate-set-parameters", QMPObject(settings.map { ($0.name, $0.value) }))
        }
        let names = Set(wanted.map(\.name))
        let changes = offered.filter { Self.managed.contains($0.key) && names.contains($0.key) != $0.value }
        if changes.isEmpty { return }
        let list = changes.sorted { $0.key < $1.key }.map { entry -> QMPValue in
            ["capability": .string(entry.key), "state": .bool(!entry.value)]
        }
        try await link.prepare("migrate-set-capabilities", ["capabilities": .array(list)])
    }

    /// Each capability that the monitor knows, and whether it is on.
    static func offeredCapabilities(of link: MonitorLink) async throws -> [String: Bool] {
        var offered: [String: Bool] = [:]
        for entry in try await link.prepare("query-migrate-capabilities").arrayValue ?? [] {
            guard let name = entry["capability"]?.stringValue else { continue }
            offered[name] = entry["state"]?.boolValue ?? false
        }
        return offered
    }

    private static func unknown(_ kind: String, _ name: String, _ option: String, _ link: MonitorLink) -> String {
        "\(link.title) does not know the \(kind) \(name)" + (option.isEmpty ? "." : ", which \(option) needs.")
    }
}
