internal import QMP

extension CommandRegistry {
    /// What only reads: identity, state, virtual CPUs, disks.
    mutating func registerQueries(_ services: MonitorServices) {
        let identity = services.identity
        register("query-version") { identity.version.value }
        register("query-name") {
            var object = QMPObject()
            object["name"] = identity.name.map(QMPValue.string)
            return .object(object)
        }
        register("query-uuid") { ["UUID": .string(identity.uuid)] }
        register("query-kvm") { ["enabled": .bool(identity.kvmIsUsed), "present": .bool(identity.kvmIsPresent)] }
        register("query-target") { ["arch": "x86_64"] }
        let driver = services.driver
        register("query-status") {
            let state = driver.state
            return ["status": .string(state.rawValue), "singlestep": false, "running": .bool(state == .running)]
        }
        let machine = services.machine
        register("query-cpus-fast") { .array(await machine.virtualCPUs().map(\.value)) }
        register("query-block") { .array(await machine.blockDevices().map(\.value)) }
    }
}
