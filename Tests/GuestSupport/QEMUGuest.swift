public import BuiltInGuest
internal import Foundation
internal import KVM
internal import LinuxSystem

/// The built-in guest in a QEMU `microvm` on this host.
public final class QEMUGuest: Sendable {
    /// Who executes the guest.
    public enum Accelerator: String, Sendable {
        case kvm
        case tcg

        /// This host's KVM if there is one that runs the guest, else QEMU's software CPU.
        public static var best: Accelerator { HostGround.obstacle(to: .builtInGuest) == nil ? .kvm : .tcg }
    }

    public let process: GuestProcess
    private let imagePath: String

    public var lines: SerialLines { process.lines }

    /// Starts one with enough memory for the region, which must be given.
    ///
    /// A guest without an end of its own gets one after ten minutes, so that a test that crashes leaves none behind. With
    /// KVM it is told the TSC's frequency. `arguments` are QEMU's, after all others.
    public init(
        _ parameters: BuiltInGuestParameters, accelerator: Accelerator = .best, acpi: Bool = false,
        arguments: [String] = []
    ) throws {
        var parameters = parameters
        if parameters.seconds == nil { parameters.seconds = 600 }
        if accelerator == .kvm && parameters.tscFrequency == nil {
            let cpu = try KVMSystem().makeVirtualMachine().makeVirtualCPU(index: 0)
            parameters.tscFrequency = try cpu.getTSCFrequency()
        }
        imagePath = NSTemporaryDirectory() + "/apus-built-in-\(UUID().uuidString)"
        try Data(BuiltInGuestImage.bytes).write(to: URL(fileURLWithPath: imagePath))
        let region = (parameters.regionMebibytes ?? 64) << 20
        let memory = max(32, BuiltInGuestImage.memorySize(regionByteCount: region) >> 20)
        let cpuModel = accelerator == .tcg ? ["-cpu", "max"] : []
        process = try GuestProcess(
            program: "qemu-system-x86_64",
            arguments: [
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
                "-M", "microvm,acpi=\(acpi ? "on" : "off")", "-accel", accelerator.rawValue, "-m", "\(memory)",
                "-smp", "\(parameters.cpuCount)", "-kernel", imagePath, "-append", parameters.commandLine,
            ] + cpuModel + arguments)
    }

    deinit { try? FileManager.default.removeItem(atPath: imagePath) }

    public func stop() { process.stop() }
}
