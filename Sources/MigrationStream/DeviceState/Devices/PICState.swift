/// One of the two 8259 interrupt controllers: section `i8259`, instance 0 the master.
public struct PICState: DeviceState, Equatable {
    public static let vmsdName = "i8259"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    public var lastInterruptRequest: UInt8 = 0
    public var interruptRequest: UInt8 = 0
    public var interruptMask: UInt8 = 0
    public var inService: UInt8 = 0
    public var priorityAdd: UInt8 = 0
    public var vectorBase: UInt8 = 0
    public var readRegisterSelect: UInt8 = 0
    public var poll: UInt8 = 0
    public var specialMask: UInt8 = 0
    /// The word of initialization that is expected next; 0 when it is done.
    public var initializationState: UInt8 = 0
    public var automaticEOI: UInt8 = 0
    public var rotateOnAutomaticEOI: UInt8 = 0
    public var specialFullyNestedMode: UInt8 = 0
    public var expectsFourthWord: UInt8 = 0
    public var singleMode: UInt8 = 0
    /// A bit per line that is level-triggered.
    public var levelTriggered: UInt8 = 0

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("last_irr", &lastInterruptRequest)
        try coder.field("irr", &interruptRequest)
        try coder.field("imr", &interruptMask)
        try coder.field("isr", &inService)
        try coder.field("priority_add", &priorityAdd)
        try coder.field("irq_base", &vectorBase)
        try coder.field("read_reg_select", &readRegisterSelect)
        try coder.field("poll", &poll)
        try coder.field("special_mask", &specialMask)
        try coder.field("init_state", &initializationState)
        try coder.field("auto_eoi", &automaticEOI)
        try coder.field("rotate_on_auto_eoi", &rotateOnAutomaticEOI)
        try coder.field("special_fully_nested_mode", &specialFullyNestedMode)
        try coder.field("init4", &expectsFourthWord)
        try coder.field("single_mode", &singleMode)
        try coder.field("elcr", &levelTriggered)
    }
}
