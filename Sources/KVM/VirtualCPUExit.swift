/// Why a virtual CPU stopped running, with what the monitor has to look at or to fill in.
///
/// The spans show the memory shared with the kernel: they are valid until the virtual CPU runs again.
public enum VirtualCPUExit: ~Copyable, ~Escapable {
    /// The guest reads a port: fill `bytes`, one or (string instructions) several values of `width` bytes.
    case portRead(port: UInt16, width: Int, bytes: MutableRawSpan)
    /// The guest has written to a port: one or several values of `width` bytes.
    case portWrite(port: UInt16, width: Int, bytes: RawSpan)
    /// The guest reads memory that is in no slot: fill `bytes`, 1 to 8 of them.
    case memoryRead(address: UInt64, bytes: MutableRawSpan)
    /// The guest has written to memory that is in no slot, or is read-only.
    case memoryWrite(address: UInt64, bytes: RawSpan)
    /// A signal or the exit request ended the run; the guest did nothing that needs an answer.
    case interrupted
    /// HLT without an in-kernel interrupt controller.
    case halted
    /// Triple fault, or shut down by the processor.
    case shutdown
    /// The in-kernel controller asks for a shutdown (1), reset (2), crash (3) ...
    case systemEvent(type: UInt32)
    /// The dirty ring has no room: take its entries and reset it before running again.
    case dirtyRingFull
    /// An interrupt can be injected now.
    case interruptWindowOpen
    /// The guest acknowledged a vector at the IOAPIC (split controller only).
    case ioAPICEndOfInterrupt(vector: UInt8)
    /// The processor refused the state it was given.
    case entryFailed(reason: UInt64)
    /// KVM gave up: 1 an instruction it cannot emulate (`bytes` are the guest's code as far as known).
    case internalError(suberror: UInt32, instruction: [UInt8])
    /// A guest debug exit.
    case debug
    /// Anything else, by KVM's number.
    case other(reason: UInt32)
}
