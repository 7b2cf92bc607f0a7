/// A virtio balloon: section `virtio-mmio@…/virtio-balloon`.
public struct VirtioBalloonState: DeviceState, Equatable {
    public static let vmsdName = "virtio-balloon"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    public var virtio = VirtioState()
    /// Pages of 4 KiB that the host wants back.
    public var wantedPageCount: UInt32 = 0
    /// Pages that the guest has given.
    public var actualPageCount: UInt32 = 0
    /// There if the device offers hints about free pages.
    public var freePageHint: FreePageHint?
    /// The value that the guest fills free pages with; there if the driver has accepted to say so.
    public var poison: UInt32?

    public struct FreePageHint: Equatable, Sendable {
        public var commandID: UInt32
        /// 0 stopped, 1 requested, 2 started, 3 done.
        public var status: UInt32

        public init(commandID: UInt32 = 0, status: UInt32 = 0) {
            self.commandID = commandID
            self.status = status
        }
    }

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.undescribed("virtio", type: "virtio") { coder throws(StateError) in
            try virtio.transferCore(&coder)
            if coder.direction == .load {
                freePageHint = nil
                poison = nil
            }
            try coder.named("virtio-balloon-device") { coder throws(StateError) in try transferDevice(&coder) }
            try virtio.transferSubsections(&coder)
        }
    }

    private mutating func transferDevice(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("num_pages", &wantedPageCount)
        try coder.field("actual", &actualPageCount)
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("virtio-balloon-device/free-page-report", isNeeded: freePageHint != nil) {
                coder throws(StateError) in
                var hint = freePageHint ?? FreePageHint()
                try coder.field("free_page_hint_cmd_id", &hint.commandID)
                try coder.field("free_page_hint_status", &hint.status)
                freePageHint = hint
            }
            try coder.subsection("virtio-balloon-device/page-poison", isNeeded: poison != nil) {
                coder throws(StateError) in
                var value = poison ?? 0
                try coder.field("poison_val", &value)
                poison = value
            }
        }
    }
}
