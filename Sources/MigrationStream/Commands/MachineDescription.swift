/// How two Apus tell that they are: what they then say to each other, no QEMU would understand.
///
/// A source opens the return path and sends a PING with `ping`. A QEMU answers with the same value, as to any PING, and
/// never hears of the additions; Apus answers with `pong`. A QEMU as source never sends that value.
public enum PeerGreeting {
    /// "APUS".
    public static let ping: UInt32 = 0x4150_5553
    /// "supa".
    public static let pong: UInt32 = 0x7375_7061
    /// The number of the command `StreamCommand.machineDescription`: "AP".
    static let descriptionCommand: UInt16 = 0x4150
    /// The number of the command `StreamCommand.localMemory`.
    static let memoryCommand: UInt16 = 0x4151
    static let commands = [descriptionCommand, memoryCommand]
    /// The types of the messages `ReturnPathMessage.refusal` and `.arrival`.
    static let refusalMessage: UInt16 = 0x4150
    static let arrivalMessage: UInt16 = 0x4151
}

/// What the destination compares with its own before the first page: an addition of Apus, sent to Apus only.
///
///     size  field
///        4  number of virtual CPUs
///        2  number of devices, then for each
///      1+n    its name, as its section has it
///        2  number of words of processor features, then for each
///        4    CPUID leaf
///        4    subleaf
///        1    register: 0 EAX, 1 EBX, 2 ECX, 3 EDX
///        4    the bits
public struct MachineDescription: Equatable, Sendable {
    /// Features of the guest's processor: a register of a CPUID leaf, each bit of which says that there is something.
    public struct ProcessorWord: Equatable, Sendable {
        public enum Register: UInt8, Equatable, Sendable { case eax, ebx, ecx, edx }
        public var leaf: UInt32
        public var subleaf: UInt32
        public var register: Register
        public var bits: UInt32

        public init(leaf: UInt32, subleaf: UInt32 = 0, register: Register, bits: UInt32) {
            self.leaf = leaf
            self.subleaf = subleaf
            self.register = register
            self.bits = bits
        }
    }

    public var cpuCount: UInt32
    public var devices: [String]
    public var processor: [ProcessorWord]

    public init(cpuCount: UInt32, devices: [String], processor: [ProcessorWord]) {
        self.cpuCount = cpuCount
        self.devices = devices
        self.processor = processor
    }

    /// The most devices and words that a description may have.
    static let maximumCount = 256

    /// The bytes on the wire. Names of devices have at most 255 bytes, so a description fits into a command.
    var byteCount: Int { 8 + devices.reduce(0) { $0 + 1 + $1.utf8.count } + 13 * processor.count }

    @_lifetime(writer: copy writer)
    func write(into writer: inout StreamWriter) {
        writer.write(cpuCount)
        writer.write(UInt16(devices.count))
        for device in devices { writer.writeName(device) }
        writer.write(UInt16(processor.count))
        for word in processor {
            writer.write(word.leaf)
            writer.write(word.subleaf)
            writer.write(word.register.rawValue)
            writer.write(word.bits)
        }
    }

    @_lifetime(reader: copy reader)
    static func parse(_ reader: inout StreamReader, byteCount: Int) throws(StreamError) -> MachineDescription {
        let start = reader.offset
        let cpuCount = try reader.readUInt32("number of virtual CPUs")
        var devices: [String] = []
        for _ in 0..<(try parseCount(&reader, "number of devices")) {
            devices.append(try reader.readName("name of a device"))
        }
        var processor: [ProcessorWord] = []
        for _ in 0..<(try parseCount(&reader, "number of processor words")) {
            let leaf = try reader.readUInt32("CPUID leaf")
            let subleaf = try reader.readUInt32("CPUID subleaf")
            let registerOffset = reader.offset
            let number = try reader.readUInt8("CPUID register")
            guard let register = ProcessorWord.Register(rawValue: number) else {
                throw .limitExceeded(field: "CPUID register", offset: registerOffset, limit: 3, found: UInt64(number))
            }
            let bits = try reader.readUInt32("processor features")
            processor.append(ProcessorWord(leaf: leaf, subleaf: subleaf, register: register, bits: bits))
        }
        guard reader.offset - start == byteCount else {
            throw .unexpectedValue(
                field: "length of a machine's description", offset: start, expected: UInt64(reader.offset - start),
                found: UInt64(byteCount))
        }
        return MachineDescription(cpuCount: cpuCount, devices: devices, processor: processor)
    }

    @_lifetime(reader: copy reader)
    private static func parseCount(_ reader: inout StreamReader, _ field: String) throws(StreamError) -> Int {
        let offset = reader.offset
        let count = try reader.readUInt16(field)
        guard count <= maximumCount else {
            throw .limitExceeded(field: field, offset: offset, limit: maximumCount, found: UInt64(count))
        }
        return Int(count)
    }
}
