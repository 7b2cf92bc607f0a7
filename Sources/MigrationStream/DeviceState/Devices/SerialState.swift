/// The 16550 serial port: section `serial`, version 3. Its fields lie in a structure of the same name.
public struct SerialState: DeviceState, Equatable {
    public static let vmsdName = "serial"
    public static let currentVersion = 3
    public static let minimumVersion = 3

    public var port = Port()

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.structure("state", &port)
    }

    /// The port's registers; values after reset.
    public struct Port: StateFormat, Equatable, Sendable {
        public static let vmsdName = "serial"
        public static let currentVersion = 3

        public var divider: UInt16 = 12
        public var receiveBuffer: UInt8 = 0
        public var interruptEnable: UInt8 = 0
        public var interruptIdentification: UInt8 = 1
        public var lineControl: UInt8 = 0
        public var modemControl: UInt8 = 8
        public var lineStatus: UInt8 = 0x60
        public var modemStatus: UInt8 = 0xB0
        public var scratch: UInt8 = 0
        public var fifoControl: UInt8 = 0
        /// Not 0 while the interrupt for an empty transmit register is pending. Sent only where the registers do not
        /// tell it themselves.
        public var transmitInterruptPending: Int32 = 0
        /// How often the byte in the shift register was tried to be sent; at most 4.
        public var transmitRetryCount: UInt32 = 0
        public var transmitHolding: UInt8 = 0
        public var transmitShift: UInt8 = 0
        public var receiveQueue = ByteQueue()
        public var transmitQueue = ByteQueue()
        public var receiveTimeoutTimer: UInt64?
        public var receiveTimeoutPending: Int32 = 0
        /// Whether the modem lines are polled: -1 no.
        public var modemPoll: Int32 = -1
        public var modemPollTimer: UInt64?

        public init() {}

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.field("divider", &divider)
            try coder.field("rbr", &receiveBuffer)
            try coder.field("ier", &interruptEnable)
            try coder.field("iir", &interruptIdentification)
            try coder.field("lcr", &lineControl)
            try coder.field("mcr", &modemControl)
            try coder.field("lsr", &lineStatus)
            try coder.field("msr", &modemStatus)
            try coder.field("scr", &scratch)
            try coder.field("fcr_vmstate", &fifoControl)
            if coder.direction == .load { resetSubsections() }
            try coder.subsections { coder throws(StateError) in
                try transferTransmitter(&coder)
                try transferReceiver(&coder)
            }
            guard coder.direction == .load else { return }
            try checkTransmitter(coder)
        }

        /// What the registers say about the transmit interrupt.
        private var impliedTransmitInterrupt: Int32 { interruptIdentification & 6 == 2 ? 1 : 0 }

        private var isTransmitInterruptSent: Bool {
            interruptEnable & 2 != 0 && transmitInterruptPending != impliedTransmitInterrupt
        }

        private mutating func resetSubsections() {
            transmitInterruptPending = impliedTransmitInterrupt
            transmitRetryCount = 0
            receiveQueue = ByteQueue()
            transmitQueue = ByteQueue()
            receiveTimeoutTimer = nil
            receiveTimeoutPending = 0
            modemPoll = -1
            modemPollTimer = nil
        }

        private mutating func transferTransmitter(_ coder: inout StateCoder) throws(StateError) {
            try coder.subsection("serial/thr_ipending", isNeeded: isTransmitInterruptSent) {
                coder throws(StateError) in try coder.field("thr_ipending", &transmitInterruptPending)
            }
            try coder.subsection("serial/tsr", isNeeded: transmitRetryCount != 0) { coder throws(StateError) in
                try coder.field("tsr_retry", &transmitRetryCount)
                try coder.field("thr", &transmitHolding)
                try coder.field("tsr", &transmitShift)
            }
        }

        private mutating func transferReceiver(_ coder: inout StateCoder) throws(StateError) {
            try coder.subsection("serial/recv_fifo", isNeeded: receiveQueue.count > 0) { coder throws(StateError) in
                try coder.structure("recv_fifo", &receiveQueue)
            }
            try coder.subsection("serial/xmit_fifo", isNeeded: transmitQueue.count > 0) { coder throws(StateError) in
                try coder.structure("xmit_fifo", &transmitQueue)
            }
            try coder.subsection("serial/fifo_timeout_timer", isNeeded: receiveTimeoutTimer != nil) {
                coder throws(StateError) in try coder.timer("fifo_timeout_timer", &receiveTimeoutTimer)
            }
            try coder.subsection("serial/timeout_ipending", isNeeded: receiveTimeoutPending != 0) {
                coder throws(StateError) in try coder.field("timeout_ipending", &receiveTimeoutPending)
            }
            try coder.subsection("serial/poll", isNeeded: modemPoll >= 0) { coder throws(StateError) in
                try coder.field("poll_msl", &modemPoll)
                try coder.timer("modem_status_poll", &modemPollTimer)
            }
        }

        /// A byte is being retried exactly while the transmitter is not empty.
        private func checkTransmitter(_ coder: StateCoder) throws(StateError) {
            let isEmpty = lineStatus & 0x40 != 0
            if transmitRetryCount > 4 {
                try coder.check("tsr_retry", UInt64(transmitRetryCount), atMost: 4)
            }
            guard (transmitRetryCount > 0) != isEmpty else {
                throw .inconsistent(
                    field: coder.fieldPath("tsr_retry"),
                    explanation: "it is \(transmitRetryCount) with the transmitter \(isEmpty ? "empty" : "busy")",
                    offset: coder.offset)
            }
        }
    }

    /// A ring of 16 bytes.
    public struct ByteQueue: StateFormat, Equatable, Sendable {
        public static let vmsdName = "Fifo8"
        public static let currentVersion = 1

        public var ring = [UInt8](repeating: 0, count: 16)
        /// The index of the first byte.
        public var head: UInt32 = 0
        /// Bytes that wait.
        public var count: UInt32 = 0

        public init() {}

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.buffer("data", &ring, count: 16)
            try coder.field("head", &head)
            try coder.check("head", UInt64(head), atMost: 15)
            try coder.field("num", &count)
            try coder.check("num", UInt64(count), atMost: 16)
        }
    }
}
