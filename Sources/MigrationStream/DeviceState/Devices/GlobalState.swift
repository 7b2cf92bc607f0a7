/// The run state of the guest at the source: section `globalstate`, the last of a stream.
public struct GlobalState: DeviceState, Equatable {
    public static let vmsdName = "globalstate"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    /// How the section is laid out; both take 104 bytes and load alike.
    public enum Layout: Sendable, Equatable {
        /// 100 bytes for the word, until QEMU 8.2.
        case word
        /// 32 bytes for the word, then whether the guest was suspended, from QEMU 9.0 on.
        case wordAndSuspension
    }

    /// The source's run state in QEMU's words: `running`, `paused`, `prelaunch` …
    public var runState = "running"
    /// Whether the guest was suspended; nil if the source does not say.
    public var wasSuspended: Bool?
    /// The layout to save. Loading tells the two apart by the byte after the word.
    public var layout = Layout.word

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        var byteCount = UInt32(runState.utf8.count + 1)
        try coder.field("size", &byteCount)
        try coder.check("size", UInt64(byteCount), atMost: 32)
        if coder.direction == .load { layout = coder.globalStateLayout }
        let wordCount = layout == .word ? 100 : 32
        var word = Array(runState.utf8)
        word += [UInt8](repeating: 0, count: wordCount - word.count)
        try coder.buffer("runstate", &word, count: wordCount)
        if layout == .wordAndSuspension {
            var isTold: UInt8 = wasSuspended == nil ? 0 : 1
            var value: UInt8 = wasSuspended == true ? 1 : 0
            try coder.field("has_vm_was_suspended", &isTold)
            try coder.field("vm_was_suspended", &value)
            try coder.unused(count: 66, type: "buffer")
            wasSuspended = isTold == 0 ? nil : value != 0
        }
        guard coder.direction == .load else { return }
        let text = word.prefix { $0 != 0 }
        guard text.count < 32, let name = String(validating: text, as: UTF8.self) else {
            throw .inconsistent(
                field: coder.fieldPath("runstate"), explanation: "it is no word of at most 31 letters",
                offset: coder.offset)
        }
        runState = name
    }
}

extension StateCoder {
    /// QEMU before 9.0 leaves all zero what follows the word; later ones set byte 32, which is 36 of the section.
    fileprivate var globalStateLayout: GlobalState.Layout {
        let index = offset + 32
        return index < inputCount && byte(at: index) != 0 ? .wordAndSuspension : .word
    }
}
