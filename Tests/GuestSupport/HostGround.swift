public import HostCheck
internal import LinuxSystem

/// What tests may ask of this host, found out once.
///
///     @Suite(.enabled(if: HostGround.obstacle(to: .builtInGuestInQEMU) == nil, HostGround.comment(.builtInGuestInQEMU)))
public enum HostGround {
    /// A kind of guest that a test needs.
    public enum Need: Sendable {
        /// The built-in guest on this host's KVM, without QEMU.
        case builtInGuest
        /// The built-in guest in a QEMU on this host: its KVM, or QEMU's software CPU.
        case builtInGuestInQEMU
        /// A Linux guest, here or in the lab.
        case linuxGuest
    }

    public static let report = HostReport()

    /// Where a Linux guest would run: on this host's KVM, else in the lab.
    public static var runsLinuxGuestsHere: Bool { report.ground == .linuxGuests }

    /// Why a need cannot be met, nil if it can.
    public static func obstacle(to need: Need) -> String? {
        switch need {
        case .builtInGuest: return report.ground == .anywhere ? reason(of: "kvm") : nil
        case .builtInGuestInQEMU: return reason(of: "qemu")
        case .linuxGuest:
            if let reason = reason(of: "qemu") { return reason }
            return runsLinuxGuestsHere ? nil : reason(of: "lab")
        }
    }

    private static func reason(of name: String) -> String? {
        let finding = report.findings.first { $0.name == name && $0.verdict == .missing }
        return finding.map { "\($0.title): \($0.reason)" }
    }
}
