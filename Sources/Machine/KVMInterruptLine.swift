internal import Devices
internal import KVM
internal import Synchronization

/// A wire to KVM's interrupt controllers.
final class KVMInterruptLine: InterruptLine {
    private let machine: KVMVirtualMachine
    private let gsi: UInt32
    private let level = Mutex(false)

    init(machine: KVMVirtualMachine, gsi: UInt32) {
        self.machine = machine
        self.gsi = gsi
    }

    func setLevel(_ isHigh: Bool) {
        level.withLock { level in
            guard level != isHigh else { return }
            level = isHigh
            do { try machine.setInterruptLine(gsi: gsi, isRaised: isHigh) } catch {
                preconditionFailure("KVM refuses interrupt line \(gsi): \(error)")
            }
        }
    }
}
