/// The devices whose state is known here by name and version.
///
/// A section carries no length. The catalog tells where the section of a known device ends, and what it holds, also
/// in streams that bring no description along, such as those of a post-copy.
public enum DeviceStateCatalog {
    /// Bytes of one section. The largest, a modern console whose every port waits, takes 25 MiB; others 64 KiB.
    public static let maximumSectionByteCount = 32 << 20

    /// Where a section ends.
    public enum Extent: Equatable, Sendable {
        /// The payload takes this many bytes.
        case complete(byteCount: Int)
        /// At least this many bytes more are needed to tell.
        case needsMore(Int)
        /// No device that is known here.
        case unknown
    }

    /// The end of the section whose payload starts `bytes`.
    ///
    /// - Parameters:
    ///   - idstr: the section's name, with the bus prefix.
    ///   - version: from the section's header.
    ///   - bytes: the payload and whatever follows it in the stream, as much as has arrived.
    ///   - isWhole: whether nothing follows `bytes`. Otherwise the answer needs one byte beyond the section, since a
    ///     subsection might follow; a stream always has one, its footer.
    /// - Throws: `StateError` if the bytes are wrong for that device.
    public static func extent(of idstr: String, version: Int, in bytes: RawSpan, isWhole: Bool = false)
        throws(StateError) -> Extent
    {
        try decode(idstr, version: version, in: bytes, isWhole: isWhole).extent
    }

    /// The same, with the state that the payload holds if it is complete.
    static func decode(_ idstr: String, version: Int, in bytes: RawSpan, isWhole: Bool = false)
        throws(StateError) -> (extent: Extent, state: (any DeviceState)?)
    {
        guard var device = device(for: idstr) else { return (.unknown, nil) }
        let count = bytes.byteCount
        do {
            return try StateCoder.load(
                bytes, structure: type(of: device).vmsdName, version: version, isWhole: isWhole
            ) { coder throws(StateError) in
                try device.load(from: &coder)
                return (.complete(byteCount: coder.offset), device)
            }
        } catch .truncated(let field, let offset, let missing) {
            guard count + missing <= maximumSectionByteCount else {
                throw .limitExceeded(
                    field: field, found: UInt64(count) + UInt64(missing), limit: UInt64(maximumSectionByteCount),
                    offset: offset)
            }
            guard !isWhole else { throw .truncated(field: field, offset: offset, missing: missing) }
            return (.needsMore(missing), nil)
        } catch {
            throw error
        }
    }

    /// The named values of a section, by the description that is built in.
    ///
    /// It shows also the contents of virtio sections, which QEMU's description keeps to itself.
    /// - Parameter bytes: the section's whole payload.
    /// - Throws: `StateError.unknownDevice` for a device that is not known here.
    public static func values(of idstr: String, version: Int, _ bytes: [UInt8]) throws(StateError) -> StateStructure {
        guard var device = device(for: idstr) else { throw .unknownDevice(idstr, version: version) }
        return try unsafe StateCoder.load(
            bytes.span.bytes, structure: type(of: device).vmsdName, version: version, recording: .values
        ) { coder throws(StateError) in
            try device.load(from: &coder)
            try coder.finish()
            return coder.recorded
        }
    }

    /// The payload of a section, loaded into the device's state and saved from it in the same version.
    ///
    /// - Parameter bytes: the section's whole payload.
    /// - Returns: nil for a device that is not known here.
    /// - Throws: `StateError` if the bytes are wrong for that device.
    public static func reencoded(_ bytes: [UInt8], of idstr: String, version: Int) throws(StateError) -> [UInt8]? {
        guard var device = device(for: idstr) else { return nil }
        try device.load(bytes, version: version)
        return device.encoded(version: version)
    }

    /// A fresh state of the device that the section belongs to; nil if it is not known here.
    public static func device(for idstr: String) -> (any DeviceState)? { kind(of: idstr)?.init() }

    /// The newest version of the section that is known here; nil if the device is not.
    public static func newestVersion(of idstr: String) -> Int? { kind(of: idstr)?.currentVersion }

    /// The names of all sections that are known, without bus prefix.
    public static var names: [String] { (Array(kinds.keys) + Array(virtioKinds.keys)).sorted() }

    /// Virtio devices are known behind virtio-mmio only, since other transports save other registers.
    private static func kind(of idstr: String) -> (any DeviceState.Type)? {
        let bytes = idstr.utf8
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return kinds[idstr] }
        guard isMMIO(bytes[..<slash]) else { return nil }
        return virtioKinds[String(idstr[bytes.index(after: slash)...])]
    }

    private static let kinds = table([
        TimerState.self, CPUCommonState.self, CPUState.self, TPROptimizationState.self, LocalAPICState.self,
        IOAPICState.self, KVMClockState.self, ACPIGEDState.self, PICState.self, PITState.self, RTCState.self,
        SerialState.self, FirmwareConfigurationState.self, GlobalState.self,
    ])

    private static let virtioKinds = table([
        VirtioBlockState.self, VirtioNetState.self, VirtioEntropyState.self, VirtioConsoleState.self,
        VirtioBalloonState.self,
    ])

    private static func table(_ kinds: [any DeviceState.Type]) -> [String: any DeviceState.Type] {
        Dictionary(uniqueKeysWithValues: kinds.map { ($0.vmsdName, $0) })
    }

    /// `virtio-mmio@` and 16 lower-case hexadecimal digits.
    private static func isMMIO(_ prefix: Substring.UTF8View) -> Bool {
        let name = "virtio-mmio@".utf8
        let digits = prefix.dropFirst(name.count)
        return prefix.starts(with: name) && digits.count == 16
            && digits.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}
