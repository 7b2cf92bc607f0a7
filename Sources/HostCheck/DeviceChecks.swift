internal import LinuxSystem

/// RDMA devices and whether a port of theirs is up.
func rdmaFinding() -> Finding {
    let devices = FileSystem.names(in: "/sys/class/infiniband") ?? []
    let remedy = "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev NAME makes one of any network card"
    guard !devices.isEmpty else {
        return Finding("rdma", "RDMA", .missing, "no device", remedy: remedy)
    }
    let states = devices.map { device in
        let ports = FileSystem.names(in: "/sys/class/infiniband/\(device)/ports") ?? []
        let isActive = ports.contains {
            (FileSystem.text(of: "/sys/class/infiniband/\(device)/ports/\($0)/state") ?? "").contains("ACTIVE")
        }
        return (device: device, isActive: isActive)
    }
    let reason = states.map { "\($0.device) \($0.isActive ? "active" : "down")" }.joined(separator: ", ")
    if states.contains(where: \.isActive) {
        guard FileSystem.exists("/dev/infiniband/rdma_cm") else {
            return Finding("rdma", "RDMA", .limited, "\(reason); no connection manager", remedy: "modprobe rdma_ucm")
        }
        return Finding("rdma", "RDMA", .good, reason)
    }
    return Finding("rdma", "RDMA", .limited, reason, remedy: "bring the network card of the device up")
}

/// Whether a tap interface can be made: one is, and goes away at once.
func tapFinding() -> Finding {
    do throws(SystemError) {
        try TapTrial.run()
        return Finding("tap", "Tap", .good, "an interface can be made")
    } catch { return tapFinding(error) }
}

private func tapFinding(_ error: SystemError) -> Finding {
    switch error.number {
    case 2, 19: return Finding("tap", "Tap", .missing, "\(error)", remedy: "modprobe tun")
    case 1, 13:
        return Finding(
            "tap", "Tap", .limited, "\(error)",
            remedy: "give CAP_NET_ADMIN, or have root make one: ip tuntap add NAME mode tap user USER")
    default: return Finding("tap", "Tap", .missing, "\(error)")
    }
}
