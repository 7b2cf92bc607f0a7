/// Something that this kernel's KVM may be able to do, by KVM's own number.
public struct KVMCapability: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }

    public static let interruptController = KVMCapability(rawValue: 0)
    public static let userMemory = KVMCapability(rawValue: 3)
    /// The recommended, and the largest possible, count of virtual CPUs.
    public static let recommendedVirtualCPUs = KVMCapability(rawValue: 9)
    public static let memorySlotCount = KVMCapability(rawValue: 10)
    public static let multiprocessorState = KVMCapability(rawValue: 14)
    public static let interruptEventDescriptors = KVMCapability(rawValue: 32)
    public static let pit2 = KVMCapability(rawValue: 33)
    public static let eventDescriptors = KVMCapability(rawValue: 36)
    public static let adjustClock = KVMCapability(rawValue: 39)
    public static let virtualCPUEvents = KVMCapability(rawValue: 41)
    public static let debugRegisters = KVMCapability(rawValue: 50)
    public static let xsave = KVMCapability(rawValue: 55)
    public static let xcrs = KVMCapability(rawValue: 56)
    public static let tscControl = KVMCapability(rawValue: 60)
    public static let tscFrequency = KVMCapability(rawValue: 61)
    public static let maximumVirtualCPUs = KVMCapability(rawValue: 66)
    public static let tscDeadlineTimer = KVMCapability(rawValue: 72)
    public static let kvmclockControl = KVMCapability(rawValue: 76)
    public static let signalMSI = KVMCapability(rawValue: 77)
    public static let readOnlyMemory = KVMCapability(rawValue: 81)
    public static let splitInterruptController = KVMCapability(rawValue: 121)
    public static let x2APICInterface = KVMCapability(rawValue: 129)
    public static let immediateExit = KVMCapability(rawValue: 136)
    public static let nestedState = KVMCapability(rawValue: 157)
    public static let exceptionPayload = KVMCapability(rawValue: 164)
    /// Manual protection: the value is the flags that `enable` takes (1 manual, 2 initially all set).
    public static let manualDirtyLogProtection = KVMCapability(rawValue: 168)
    /// The value is the largest ring, in bytes.
    public static let dirtyRing = KVMCapability(rawValue: 192)
    public static let specialRegisters2 = KVMCapability(rawValue: 200)
    /// The value is the size of an XSAVE area in bytes.
    public static let xsave2 = KVMCapability(rawValue: 208)
    public static let tripleFaultEvent = KVMCapability(rawValue: 218)
    public static let dirtyRingAcquireRelease = KVMCapability(rawValue: 223)
    public static let preFaultMemory = KVMCapability(rawValue: 236)
}
